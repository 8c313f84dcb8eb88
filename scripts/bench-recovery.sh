#!/usr/bin/env bash
# How fast a job recovers from a killed worker: Phalanx, and beside it torchrun with the same perceptron.
#
#   scripts/bench-recovery.sh [--workers N] [--rounds N] [--torchrun-rounds N]
#
# Builds Phalanx, prints the table of `recovery` (tests/src/bin/recovery.rs), then kills workers of PyTorch's elastic
# agent, which restarts all of them from their last checkpoint. Makes a virtual environment with PyTorch (a large
# download, once). For an idle machine.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

workers=4 rounds=50 torchrun=8
while (($#)); do
    case $1 in
        --workers) workers=$2 && shift 2 ;;
        --rounds) rounds=$2 && shift 2 ;;
        --torchrun-rounds) torchrun=$2 && shift 2 ;;
        *) printf 'bench-recovery.sh: unknown option %s\n' "$1" >&2 && exit 2 ;;
    esac
done

cargo build --release --locked --workspace
"${CARGO_TARGET_DIR:-target}/release/recovery" --workers "$workers" --rounds "$rounds"
python=$(scripts/venv.sh scripts/bench/requirements.txt)
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
exec "$python" scripts/bench/torchrun_recovery.py --workers "$workers" --rounds "$torchrun"
