#!/usr/bin/env bash
# Prints the path of an etcd for the tests of coordinators in numbers: that on PATH, or else Debian's or Ubuntu's.
#
#   PHALANX_ETCD=$(scripts/etcd.sh)
#
# The package is downloaded and unpacked, not installed, into $XDG_CACHE_HOME/phalanx (~/.cache/phalanx).
set -euo pipefail

fail() {
    printf 'etcd.sh: %s\n' "$1" >&2
    exit 1
}

if command -v etcd; then exit; fi
command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null \
    || fail "etcd is not installed, and without apt-get it cannot be fetched: put etcd 3.4 or newer on PATH"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
home=$cache/etcd
mkdir -p -- "$cache"

# Whoever holds the lock downloads; the others wait for it and find the work done.
exec 9> "$home.lock"
flock 9
if [[ ! -e $home/usr/bin/etcd ]]; then
    work=$(mktemp -d -- "$cache/new.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    (cd -- "$work" && apt-get download --quiet etcd-server >&2) \
        || fail "the package etcd-server cannot be had: try \`apt-get update\`, or put etcd on PATH"
    dpkg-deb --extract "$work"/etcd-server_*.deb "$work/etcd"
    rm -rf -- "$home"
    mv -- "$work/etcd" "$home"
fi
printf '%s\n' "$home/usr/bin/etcd"
