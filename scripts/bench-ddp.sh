#!/usr/bin/env bash
# What part of its speed a worker keeps when it trains with others: Phalanx over shared memory and TCP, beside
# PyTorch's DistributedDataParallel over Gloo with the same models.
#
#   scripts/bench-ddp.sh [--workers N] [--lanes N] [--rounds N] [--seconds S] [--markdown FILE] [JOB.toml...]
#
# Builds Phalanx, makes a virtual environment with PyTorch (a large download, once), and lets all contenders run
# turn about. Each worker has one thread and the samples of the job's batch; without job files it takes a wide
# perceptron and a transformer. Needs as many idle cores as there are workers.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

options=() jobs=()
while (($#)); do
    case $1 in
        --workers | --lanes | --rounds | --seconds | --markdown) options+=("$1" "$2") && shift 2 ;;
        -*) printf 'bench-ddp.sh: unknown option %s\n' "$1" >&2 && exit 2 ;;
        *) jobs+=("$1") && shift ;;
    esac
done
((${#jobs[@]})) || jobs=(scripts/bench/{mlp-512,gpt-256}.toml)

cargo build --release --locked --package phalanx
python=$(scripts/venv.sh scripts/bench/requirements.txt)

# One thread a worker. Settings that hold OpenBLAS back to older kernels would be unfair to PyTorch.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
exec "$python" scripts/bench/ddp.py \
    --phalanx "${CARGO_TARGET_DIR:-target}/release/phalanx" "${options[@]}" "${jobs[@]}"
