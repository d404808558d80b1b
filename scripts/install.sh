#!/bin/sh
# install.sh [PREFIX]: installs the release binary as PREFIX/bin/f3 (default /usr/local), f3-runc, man pages,
# libxdt with its headers (PREFIX/lib, PREFIX/include/f3), and the helper that lets mount(8) and /etc/fstab mount type fuse.f3. DESTDIR is respected.
set -eu
cd "$(dirname "$0")/.."
prefix=${1:-/usr/local}
root=${DESTDIR:-}
[ -x build/release/bin/f3 ] || scripts/build.sh release f3
install -D -m 0755 build/release/bin/f3 "$root$prefix/bin/f3"
install -D -m 0755 build/release/bin/f3-runc "$root$prefix/bin/f3-runc"
install -D -m 0755 build/release/lib/libxdt.so.1.0 "$root$prefix/lib/libxdt.so.1.0"
ln -sf libxdt.so.1.0 "$root$prefix/lib/libxdt.so.1"
ln -sf libxdt.so.1 "$root$prefix/lib/libxdt.so"
install -d "$root$prefix/include/f3" "$root/sbin"
install -m 0644 xdt/libxdt/xdt.h xdt/libxdt/xdt.hpp xdt/libxdt/xdt_patterns.hpp "$root$prefix/include/f3"
ln -sf "$prefix/bin/f3" "$root/sbin/mount.fuse.f3"
scripts/man.sh "$root$prefix/share/man/man1" build/release/bin/f3
echo "Installed $root$prefix/bin/f3, its man pages, libxdt and $root/sbin/mount.fuse.f3."
