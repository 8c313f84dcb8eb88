#!/usr/bin/env bash
# Prints the folder of a kube-apiserver and a kube-controller-manager, built once from Debian's source package.
#
#   "$(scripts/kubernetes.sh)/kube-apiserver" --version
#
# Kubernetes 1.20.2 with Debian's Go 1.19: about ten minutes on one core the first time, into $XDG_CACHE_HOME/phalanx
# (~/.cache/phalanx). Nothing is installed. Needs apt-get, dpkg-source (dpkg-dev), make and gcc. `--cached` builds
# nothing, and ends with 77 where it is not there yet.
set -euo pipefail

scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
home=$cache/kubernetes

fail() {
    printf 'kubernetes.sh: %s\n' "$1" >&2
    exit 1
}

mkdir -p -- "$cache"
# Whoever holds the lock builds; the others wait for it and find the work done.
exec 9> "$home.lock"
flock 9
if [[ ! -e $home/kube-controller-manager ]]; then
    [[ ${1:-} != --cached ]] || { printf 'kubernetes.sh: it is not built yet: scripts/kubernetes.sh\n' >&2 && exit 77; }
    for tool in apt-get dpkg-deb dpkg-source make gcc; do
        command -v "$tool" > /dev/null || fail "there is no $tool, which the build needs"
    done
    work=$(mktemp -d -- "$cache/new.XXXXXX")
    trap 'chmod -R u+w -- "$work"; rm -rf -- "$work"' EXIT
    nice bash "$scripts/lib/kubernetes-build.sh" "$work" > "$home.log" 2>&1 || fail "the build failed: see $home.log"
    rm -rf -- "$home"
    mv -- "$work/bin" "$home"
fi
printf '%s\n' "$home"
