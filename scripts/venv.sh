#!/usr/bin/env bash
# Makes the virtual environment of a requirements file, unless it is there, and prints its python's path.
#
#   scripts/venv.sh [REQUIREMENTS]        scripts/requirements-test.txt by default
#
# Environments lie in $XDG_CACHE_HOME/phalanx (~/.cache/phalanx), one for each content of a requirements
# file and python; remove that folder to be rid of them. PYTHON names the interpreter, python3 by default.
set -euo pipefail

requirements=${1:-$(dirname -- "${BASH_SOURCE[0]}")/requirements-test.txt}
python=${PYTHON:-python3}

fail() {
    printf 'venv.sh: %s\n' "$1" >&2
    exit 1
}

[[ -r $requirements ]] || fail "$requirements cannot be read"
command -v "$python" > /dev/null || fail "$python is not installed: install python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11: set PYTHON"
"$python" -c 'import ensurepip, venv' 2> /dev/null || fail "$python has no venv: install python3-venv"

hash=$({ cat -- "$requirements"; "$python" -c 'import sys; print(sys.version, sys.prefix)'; } | sha256sum | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
venv=$cache/venv-$hash
mkdir -p -- "$cache"

# Whoever holds the lock installs; the others wait for it and find the work done.
exec 9> "$venv.lock"
flock 9
if [[ ! -e $venv/complete ]]; then
    "$python" -m venv --clear -- "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" >&2 \
        || fail "the packages of $requirements could not be installed"
    touch -- "$venv/complete"
fi
printf '%s\n' "$venv/bin/python"
