#!/usr/bin/env bash
# How many shuffled rows of MNIST a second one process is fed, beside PyTorch's DataLoader with one worker.
#
#   scripts/bench-loader.sh [--rounds N]
#
# Builds the benchmark, makes a virtual environment with PyTorch (a large download, once), and lets both sides run turn
# about. PyTorch's worker is a process of its own and has a core of its own, as Phalanx's loader is a thread that has.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

rounds=3
while (($#)); do
    case $1 in
        --rounds) rounds=$2 && shift 2 ;;
        *) printf 'bench-loader.sh: unknown option %s\n' "$1" >&2 && exit 2 ;;
    esac
done

cargo bench --quiet --locked --package phalanx-data --bench gather --no-run
python=$(scripts/venv.sh scripts/bench/requirements.txt)
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
for ((round = 1; round <= rounds; round++)); do
    printf 'round %s\n' "$round"
    cargo bench --quiet --locked --package phalanx-data --bench gather
    "$python" scripts/bench/loader.py
done
