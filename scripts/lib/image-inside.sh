# Where buildah is: builds the image from /source and the Debian in /given, looks at it, and writes it to /out.
# Run by scripts/image.sh as `image-inside.sh TARGET ARCHIVE [OPTION]…`.
set -euo pipefail

target=$1 archive=$2 && shift 2

# container IMAGE: a container of it that goes with this script.
container() {
    local name && name=$(buildah from "$1") && printf '%s\n' "$name"
}

base=$(container scratch)
buildah add --quiet "$base" /given/base.tar / > /dev/null
buildah commit --quiet --rm "$base" localhost/debian > /dev/null
buildah build --quiet --file /source/k8s/Dockerfile --ignorefile /source/k8s/Dockerfile.dockerignore --target "$target" \
    --build-arg DEBIAN=localhost/debian --build-arg MIRROR="$archive" --build-arg SECURITY="$archive-security" \
    "$@" --timestamp 0 --tag localhost/phalanx /source > /dev/null

image=$(container localhost/phalanx)
trap 'buildah rm --all > /dev/null; buildah rmi --all --force > /dev/null' EXIT
root=$(buildah mount "$image")
fail() { printf 'image.sh: %s\n' "$1" >&2 && exit 1; }

# One thing can be run, beside the C library that runs it.
programs=$(cd -- "$root" && find . -type f -perm /111 ! -path './lib/*' ! -path './usr/lib/*' | sort)
[[ $programs == ./usr/bin/phalanx ]] || fail "there is more to run than the binary: $programs"
[[ -z $(find "$root" -type f -perm /6000) ]] || fail "a file gives whoever runs it the rights of its owner"
user=$(buildah inspect --type container --format '{{.OCIv1.Config.User}}' "$image")
[[ $user == 65532:65532 ]] || fail "it runs as $user"
grep -q '"bomFormat": "CycloneDX"' "$root/usr/share/doc/phalanx/sbom.cdx.json" || fail "there is no list of what it is made of"

# It runs as that user, and with nothing that it could write to.
mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
as_user() { chroot --userspec="$user" --groups= "$root" /usr/bin/phalanx "$@"; }
version=$(as_user --version)
for job in adult diamonds kjv mnist; do as_user check "/usr/share/phalanx/examples/$job.toml" > /dev/null; done
size=$(du --summarize --block-size=1M "$root" | cut -f 1)
umount "$root"

buildah push --quiet localhost/phalanx docker-archive:/out/image.tar:phalanx:latest
printf 'image.sh: %s, %s MiB, target %s\n' "$version" "$size" "$target"
