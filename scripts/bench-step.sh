#!/usr/bin/env bash
# How many samples a second one worker trains on, beside PyTorch with the same models on the same core.
#
#   scripts/bench-step.sh [--rounds N] [--seconds S] [--markdown FILE] [JOB.toml...]
#
# Builds Phalanx, makes a virtual environment with PyTorch (a large download, once), and lets both sides run
# turn about. Without job files it takes those of the examples and two of its own. CORE says which core (0).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

options=() jobs=()
while (($#)); do
    case $1 in
        --rounds | --seconds | --markdown) options+=("$1" "$2") && shift 2 ;;
        -*) printf 'bench-step.sh: unknown option %s\n' "$1" >&2 && exit 2 ;;
        *) jobs+=("$1") && shift ;;
    esac
done
if ((${#jobs[@]} == 0)); then
    jobs=(examples/{mnist,adult,diamonds,kjv}.toml scripts/bench/{mlp-512,softmax}.toml)
fi

cargo build --release --locked --package phalanx
python=$(scripts/venv.sh scripts/bench/requirements.txt)

# One thread a side. Settings that hold OpenBLAS back to older kernels would be unfair to PyTorch.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
exec taskset --cpu-list "${CORE:-0}" "$python" scripts/bench/step.py \
    --phalanx "${CARGO_TARGET_DIR:-target}/release/phalanx" "${options[@]}" "${jobs[@]}"
