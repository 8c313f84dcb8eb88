# Debian's buildah in a Debian of its own, for machines without an engine for containers. Sourced by scripts/image.sh.
set -euo pipefail

readonly suite=bookworm archive=http://deb.debian.org/debian
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/phalanx
readonly home=$cache/buildah

# lacking: what this machine lacks for it; nothing where it lacks nothing.
lacking() {
    [[ $EUID -eq 0 ]] || { printf 'it takes root, for chroot and mounts' && return; }
    local tool && for tool in apt-get dpkg-deb perl unshare; do
        command -v "$tool" > /dev/null || { printf 'there is no %s' "$tool" && return; }
    done
}

# debian PACKAGES TARGET: a Debian with these packages and the essential ones, in a folder or a *.tar.
debian() {
    perl "$work/mmdebstrap/usr/bin/mmdebstrap" --quiet --mode=root --variant=minbase --include="$1" \
        "$suite" "$2" "deb $archive $suite main" > "$work/mmdebstrap.log" 2>&1 || { tail "$work/mmdebstrap.log" >&2 && return 1; }
}

# prepare: makes both Debians, that which has buildah and that which images are built on, unless they are there.
prepare() {
    # Whoever holds the lock makes them; the others wait for it and find the work done.
    mkdir -p -- "$cache"
    exec 9> "$home.lock"
    flock 9
    [[ ! -e $home/base.tar ]] || return 0
    work=$(mktemp -d -- "$cache/new.XXXXXX")
    (cd -- "$work" && apt-get download --quiet mmdebstrap >&2 && dpkg-deb --extract mmdebstrap_*.deb mmdebstrap)
    debian ca-certificates "$work/base.tar"
    debian buildah,ca-certificates "$work/root"
    rm -rf -- "$home"
    mkdir -- "$home" "$work"/root/{source,given,out}
    mv -- "$work/root" "$home/root"
    mv -- "$work/base.tar" "$home/base.tar"
    rm -rf -- "$work"
}

# inside SOURCE GIVEN OUT SCRIPT: runs a script where buildah is, with these folders at /source, /given and /out.
inside() {
    unshare --mount --fork bash -euo pipefail -c '
        root=$1
        mount --bind "$root" "$root"
        mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev"
        mount --bind "$2" "$root/source" && mount --bind "$3" "$root/given" && mount --bind "$4" "$root/out"
        cp -- /etc/resolv.conf "$root/etc/resolv.conf"
        exec env --ignore-environment HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin BUILDAH_ISOLATION=chroot \
            chroot "$root" bash -euo pipefail -c "$5"' inside "$home/root" "$@"
}
