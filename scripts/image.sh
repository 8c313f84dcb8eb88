#!/usr/bin/env bash
# Lints the image's recipe, runs its steps without an engine for containers, and looks at what comes out.
#
#   scripts/image.sh --lint                                  only lints k8s/Dockerfile
#   scripts/image.sh [--target cpu|cuda] [--output FILE]     builds everything; FILE gets the image, for `docker load` and the like
#   scripts/image.sh --binary FILE [--output FILE]           puts this binary in instead of compiling one
#
# Steps are run by Debian's buildah in a chroot, over a Debian made from its archive as it is today in place of the pinned
# one (scripts/lib/buildah.sh). Takes root and apt-get, and ends with 77, saying why, where something is missing.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source scripts/lib/buildah.sh

target=cpu binary='' output='' lint=''
while (($#)); do
    case $1 in
        --lint) lint=only && shift ;;
        --target | --binary | --output) declare "${1#--}=$2" && shift 2 ;;
        *) printf 'image.sh: unknown option %s\n' "$1" >&2 && exit 2 ;;
    esac
done

python=$(scripts/venv.sh scripts/requirements-kubernetes.txt) || exit 77
"$(dirname -- "$python")/hadolint" k8s/Dockerfile
[[ $lint != only ]] || exit 0
missing=$(lacking)
[[ -z $missing ]] || { printf 'image.sh: the steps of k8s/Dockerfile are not run: %s\n' "$missing" >&2 && exit 77; }
prepare

given=$(mktemp -d) out=$(mktemp -d)
trap 'rm -rf -- "$given" "$out"' EXIT
ln -- "$home/base.tar" "$given/base.tar" 2> /dev/null || cp -- "$home/base.tar" "$given/base.tar"
context=''
if [[ -n $binary ]]; then
    mkdir -- "$given/build" "$given/build/out"
    install --strip -- "$binary" "$given/build/out/phalanx"
    scripts/sbom.py --features phalanx/cluster > "$given/build/out/sbom.json"
    context='--build-context build=/given/build'
fi
cp -- scripts/lib/image-inside.sh "$given"
inside "$PWD" "$given" "$out" "bash /given/image-inside.sh $target $archive $context"
[[ -z $output ]] || mv -- "$out/image.tar" "$output"
