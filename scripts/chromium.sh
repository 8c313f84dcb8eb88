#!/usr/bin/env bash
# Prints the path of a headless Chromium for the tests that look at pages: one on PATH, or else Debian's.
#
#   PHALANX_CHROMIUM=$(scripts/chromium.sh)
#
# Its package, what it needs and this machine lacks, and fonts are downloaded and unpacked, not installed, into
# $XDG_CACHE_HOME/phalanx (~/.cache/phalanx). Ubuntu's package is a snap's stub: install a Chromium or Chrome there.
set -euo pipefail

fail() {
    printf 'chromium.sh: %s\n' "$1" >&2
    exit 1
}

for name in chromium-headless-shell chromium google-chrome; do
    if command -v "$name"; then exit; fi
done
command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null \
    || fail "there is no Chromium, and without apt-get it cannot be fetched: put chromium on PATH"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
home=$cache/chromium
libs=$home/usr/lib/$(uname -m)-linux-gnu
mkdir -p -- "$cache"

# Whoever holds the lock downloads; the others wait for it and find the work done.
exec 9> "$home.lock"
flock 9
if [[ ! -x $home/chromium ]]; then
    work=$(mktemp -d -- "$cache/new.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    mkdir -p -- "$work/archives/partial" "$work/root"
    apt-get install --quiet --yes --download-only --no-install-recommends -o Debug::NoLocking=true \
        -o "Dir::Cache::archives=$work/archives" chromium-headless-shell fonts-liberation >&2 \
        || fail "the package chromium-headless-shell cannot be had: try \`apt-get update\`, or put chromium on PATH"
    for package in "$work"/archives/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
    include='<include ignore_missing="yes">' conf=/etc/fonts/fonts.conf
    printf '%s' "<fontconfig>$include$conf</include>$include$home$conf</include><dir>$home/usr/share/fonts</dir>" \
        "<cachedir>$home/fonts</cachedir></fontconfig>" > "$work/root/fonts.conf"
    {
        printf '#!/bin/sh\nexport FONTCONFIG_FILE=%q\n' "$home/fonts.conf"
        printf 'export LD_LIBRARY_PATH=%q\n' "$libs:$home/lib/$(uname -m)-linux-gnu:$libs/pulseaudio"
        printf 'exec %q "$@"\n' "$home/usr/lib/chromium/chromium-headless-shell"
    } > "$work/root/chromium"
    chmod +x "$work/root/chromium"
    rm -rf -- "$home"
    mv -- "$work/root" "$home"
fi
printf '%s\n' "$home/chromium"
