#!/usr/bin/env bash
# Prints the path of a protoc, which a build with `--features cluster` needs: that on PATH, or else one from PyPI.
#
#   PROTOC=$(scripts/protoc.sh) cargo build --release -p phalanx --features cluster
#
# The one from PyPI is Google's `grpcio-tools`, in a virtual environment as scripts/venv.sh makes them.
set -euo pipefail

if [[ -n ${PROTOC:-} ]]; then
    printf '%s\n' "$PROTOC"
elif ! command -v protoc; then
    scripts=$(dirname -- "${BASH_SOURCE[0]}")
    python=$("$scripts/venv.sh" "$scripts/requirements-protoc.txt")
    printf '%s\n' "$(dirname -- "$python")/python-grpc-tools-protoc"
fi
