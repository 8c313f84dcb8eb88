#!/usr/bin/env bash
# How long an all-reduce takes between processes of this machine, beside PyTorch's Gloo and two MPIs.
#
#   scripts/bench-allreduce.sh [--ranks N] [--bytes SIZE,...] [--rounds N] [--seconds S] [--markdown FILE]
#
# Builds the collective's example, makes virtual environments with PyTorch (a large download, once), OpenMPI and
# Intel MPI, and lets all of them run turn about. What cannot be installed is left out, and said so.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

cargo build --release --locked --package phalanx-collective --example allreduce
contenders=()
# add NAME REQUIREMENTS: a contender and the python of its environment.
add() {
    local python
    if python=$(scripts/venv.sh "scripts/bench/$2"); then
        contenders+=(--contender "$1=$python")
    else
        printf 'bench-allreduce.sh: %s is left out\n' "$1" >&2
    fi
}
add gloo requirements.txt
add openmpi allreduce-openmpi.txt
add impi allreduce-impi.txt

export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
exec python3 scripts/bench/allreduce.py \
    --phalanx "${CARGO_TARGET_DIR:-target}/release/examples/allreduce" "${contenders[@]}" "$@"
