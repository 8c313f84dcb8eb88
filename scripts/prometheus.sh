#!/usr/bin/env bash
# Prints the folder of a prometheus and its promtool: that of those on PATH, or else of Debian's or Ubuntu's.
#
#   "$(scripts/prometheus.sh)/promtool" --version
#
# The package is downloaded and unpacked, not installed, into $XDG_CACHE_HOME/phalanx (~/.cache/phalanx).
set -euo pipefail

fail() {
    printf 'prometheus.sh: %s\n' "$1" >&2
    exit 1
}

if promtool=$(command -v promtool) && command -v prometheus > /dev/null; then
    dirname -- "$promtool"
    exit
fi
command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null \
    || fail "prometheus is not installed, and without apt-get it cannot be fetched: put prometheus and promtool on PATH"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
home=$cache/prometheus
mkdir -p -- "$cache"

# Whoever holds the lock downloads; the others wait for it and find the work done.
exec 9> "$home.lock"
flock 9
if [[ ! -e $home/usr/bin/promtool ]]; then
    work=$(mktemp -d -- "$cache/new.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    (cd -- "$work" && apt-get download --quiet prometheus >&2) \
        || fail "the package prometheus cannot be had: try \`apt-get update\`, or put prometheus on PATH"
    dpkg-deb --extract "$work"/prometheus_*.deb "$work/prometheus"
    rm -rf -- "$home"
    mv -- "$work/prometheus" "$home"
fi
printf '%s\n' "$home/usr/bin"
