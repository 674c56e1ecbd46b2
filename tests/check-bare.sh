#!/bin/bash
# Proves the README's two commands on a new Debian 12 that has nothing but its base, git and make: makes such a system
# in build/bare with debootstrap, clones HEAD into it and runs `make demo` and `make check` there (chroot).
# Packages come from where this machine gets its own; the base system is kept as build/bare-debian.tar for next time.
# environment: BUILD, COMMANDS ("make demo;make check"), KEEP=1 leaves build/bare for a look
set -euo pipefail

# Mounts belong to a namespace of this process: they vanish with it, however it ends.
if [[ ${SOW_BARE_INSIDE:-} != 1 ]]; then
    if [[ $(id -u) != 0 ]]; then
        echo "make check-bare needs root (debootstrap, chroot)" >&2
        exit 2
    fi
    exec env SOW_BARE_INSIDE=1 unshare --mount --propagation private bash "$0" "$@"
fi

cd "$(dirname "$0")/.."
build=${BUILD:-build}
mkdir -p "$build"
root=$(realpath "$build")/bare
tar=$(realpath "$build")/bare-debian.tar
commands=${COMMANDS:-make demo;make check}
suite=bookworm

# Where this machine's apt gets Debian from: "URI suite component keyring", one a line.
sources=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)' \
    'Created-By: Packages' 'Origin: Debian' | sort -u)
mirror=$(awk -v suite=$suite '$2 == suite { print $1; exit }' <<<"$sources")
if [[ -z $mirror ]]; then
    echo "apt's sources name no Debian $suite: run apt-get update, or add it" >&2
    exit 2
fi

# What apt needs to get there: proxies and certificates, names, and the sources themselves.
carry_network() {
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    cp -L /etc/hosts "$root/etc/hosts"
    mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/ssl/certs"
    apt-config dump | grep -E '^Acquire::(.*[Pp]roxy|https?::|Check-)' >"$root/etc/apt/apt.conf.d/90network" || true
    # apt's own file of certificates only: the system under test has no ca-certificates.
    if grep -q https <<<"$sources" && [[ -s /etc/ssl/certs/ca-certificates.crt ]]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/apt/network.crt"
        echo 'Acquire::https::CaInfo "/etc/apt/network.crt";' >>"$root/etc/apt/apt.conf.d/90network"
    fi
    local uri release component keyring
    while read -r uri release component keyring; do
        echo "deb $uri $release $component"
    done <<<"$sources" >"$root/etc/apt/sources.list"
}
kept_environment=()
for name in http_proxy https_proxy no_proxy; do
    [[ -z ${!name:-} ]] || kept_environment+=("$name=${!name}")
done
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "${kept_environment[@]}" \
        chroot "$root" "$@" </dev/null
}

rm -rf --one-file-system "$root"
mkdir -p "$root"
if [[ -s $tar ]]; then
    tar -xf "$tar" -C "$root"
else
    echo "== a bare Debian $suite with git and make, in $build/bare"
    debootstrap --variant=minbase --include=git,make "$suite" "$root" "$mirror" >"$build/bare.log" 2>&1 ||
        { tail -n 20 "$build/bare.log" >&2; exit 2; }
    rm -rf "$root"/var/cache/apt/archives/*.deb
    tar -cf "$tar.new" -C "$root" .
    mv "$tar.new" "$tar"
fi
carry_network
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs sysfs "$root/sys" 2>/dev/null || mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/dev/shm"

git clone --quiet --no-hardlinks . "$root/root/sow"
status=0
IFS=';' read -ra list <<<"$commands"
for command in "${list[@]}"; do
    echo "== bare Debian: $command"
    start=$SECONDS
    inside sh -c "cd /root/sow && $command" || { status=$?; echo "== $command: exit status $status"; }
    echo "== $command took $((SECONDS - start)) s, packages included"
done
if [[ ${KEEP:-} != 1 ]]; then
    umount -R "$root/proc" "$root/dev" "$root/sys" "$root/tmp"
    rm -rf --one-file-system "$root"
fi
if ((status == 0)); then echo "1 passed, 0 failed"; else echo "0 passed, 1 failed"; fi
exit $status
