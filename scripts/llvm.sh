#!/usr/bin/env bash
# Puts the LLVM that a build with `--features cuda` links where that build looks for it, from packages of PyPI:
# for machines that cannot download the bundle which burn's build script fetches otherwise.
#
#   scripts/llvm.sh
#
# It lies in $XDG_DATA_HOME/tracel (~/.local/share/tracel) then, about 400 MB; nothing is done where it is complete.
# Needs python3 (the build itself does, too: `llvm-config` is a script) with pip, on Linux x86-64, and g++.
set -euo pipefail

llvm=23.1.0-4      # what `tracel-llvm-bundler` in Cargo.lock looks for
wheels=23.1.1.post0
data=${XDG_DATA_HOME:-$HOME/.local/share}/tracel
home=$data/tracel-llvm-$llvm
done=$home/.tracel-llvm-installed

fail() {
    printf 'llvm.sh: %s\n' "$1" >&2
    exit 1
}

lock=$(dirname -- "${BASH_SOURCE[0]}")/../Cargo.lock
grep -A 1 '^name = "tracel-llvm-bundler"$' "$lock" | grep -qF "\"$llvm\"" \
    || fail "Cargo.lock has another tracel-llvm-bundler than $llvm: this script must be set to it"
[[ $(uname -sm) == "Linux x86_64" ]] || fail "the packages are for Linux x86_64, this is $(uname -sm)"
python3 -m pip --version > /dev/null 2>&1 || fail "there is no python3 with pip: install python3-pip"
command -v c++ > /dev/null || fail "there is no C++ compiler, which the build needs: install g++"

# Whoever holds the lock installs; the others wait for it and find the work done.
mkdir -p -- "$data"
exec 9> "$home.lock"
flock 9
if [[ ! -e $done ]]; then
    work=$(mktemp -d -- "$data/new.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
        "mlc-llvm-static==$wheels" "mlc-llvm-static-extra-targets==$wheels" || fail "the packages cannot be had"
    for wheel in "$work"/*.whl; do python3 -m zipfile --extract "$wheel" "$work"; done
    mkdir -- "$work/llvm"
    cp -r --link -- "$work"/mlc_llvm_static*/static/. "$work/llvm"
    chmod +x -- "$work"/llvm/bin/*
    "$work/llvm/bin/llvm-config" --version > /dev/null || fail "llvm-config of the packages does not run here"
    rm -rf -- "$home"
    mv -- "$work/llvm" "$home"
    touch -- "$done"
fi
printf '%s\n' "$home"
