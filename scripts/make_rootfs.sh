#!/bin/sh
# make_rootfs.sh DIR: the root file system that sandboxes of actions share: Debian 12 with python3,
# nodejs and a shell, F3's runtimes (openwhisk_plugin/runtimes) and libxdt with its Python and Node
# packages. As root. Packages come from where this machine's own apt takes them.
#
# DIR/etc/f3-rootfs says what DIR was made of: called again, it does what differs, which is nothing
# (some milliseconds), F3's own files (a second), or all.
set -eu
[ $# = 1 ] || { echo "usage: scripts/make_rootfs.sh DIR" >&2; exit 2; }
dir=$(realpath -m "$1")
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "make_rootfs.sh: run this as root: it unpacks files of root and uses chroot" >&2; exit 1; }

suite=bookworm
packages=base-files,bash,coreutils,dash,findutils,grep,gzip,sed,tar,libc-bin,python3,nodejs
own="openwhisk_plugin/runtimes xdt/python/f3 xdt/libxdt xdt/node"

hash_of() {  # FILE-OR-DIRECTORY...
  find "$@" -type f ! -path '*/__pycache__/*' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-32
}
# The packages: what this script says of them. Newer versions of a package are taken when it is run
# for a directory that is not there.
base_hash=$(sed -n '/^suite=/,/^packages=/p; /^apt_sources()/,/^}/p; /^add_node/,/^}/p; /^make_base()/,/^}/p' \
  scripts/make_rootfs.sh | sha256sum | cut -c1-32)
# shellcheck disable=SC2086  # a list of words
own_hash=$(hash_of scripts/make_rootfs.sh $own)
stamp=etc/f3-rootfs

# Where apt of this machine takes Debian's packages from, and how it gets there.
apt_sources() {
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [ -f "$file" ] && grep -qE "^(deb|Suites:).*[[:space:]]$suite" "$file"; then echo "$file"; fi
  done
}

# The headers of Node's C interface, to build xdt/node with; their package would bring many others.
add_node_headers() {  # DIRECTORY
  package=$(mktemp -d)
  ( cd "$package" && apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=5 download libnode-dev &&
    dpkg-deb --fsys-tarfile ./*.deb | tar -x -C "$1" --wildcards './usr/include/node/*_api*.h' ) ||
    { rm -rf "$package"; return 1; }
  rm -rf "$package"
}

# Without the descriptors that this script was started with: mmdebstrap has a shell write to its own
# by number, and dash knows one digit only.
bootstrap() (
  exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  exec mmdebstrap "$@"
)

make_base() {  # DIRECTORY
  settings=$(mktemp)
  apt-config dump | grep -E '^Acquire::(https?::|Check-|ForceIPv|Retries)' >"$settings" || true
  echo 'APT::Install-Recommends "false";' >>"$settings"
  # Packages are unpacked, not configured: no package manager will run in there, and it takes a
  # third of the time and of the room.
  echo 'Acquire::Retries "5";' >>"$settings"
  # A mirror that fails once is no reason to give up.
  for attempt in 1 2 3; do
    rm -rf "$1"
    # shellcheck disable=SC2046  # a list of words
    if bootstrap --quiet --mode=root --variant=extract --include="$packages" --aptopt="$settings" \
      --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --skip=check/empty \
      "$suite" "$1" $(apt_sources); then
      break
    fi
    [ "$attempt" != 3 ] || { rm -f "$settings"; return 1; }
  done
  rm -f "$settings"
  (
    cd "$1"
    rm -rf usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/lintian usr/share/bug \
      usr/share/nodejs/acorn-node usr/lib/valgrind var/lib/apt var/cache/apt var/lib/dpkg dev/* boot
    echo 'root:x:0:0:root:/root:/bin/bash' >etc/passwd
    echo 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin' >>etc/passwd
    printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
    printf '127.0.0.1\tlocalhost\n' >etc/hosts
    printf 'passwd: files\ngroup: files\nhosts: files\n' >etc/nsswitch.conf
    : >etc/resolv.conf
    mkdir -p run/f3 mnt/f3 tmp
    chmod 1777 tmp
  )
  add_node_headers "$1"
  ldconfig -r "$1"
  # The file system will be read-only for all sandboxes: compile once, here.
  chroot "$1" /usr/bin/python3 -I -m compileall -q -x '/(test|idlelib|lib2to3|turtledemo|distutils)/' \
    /usr/lib/python3.11 >/dev/null
}

install_own() {  # DIRECTORY
  lib=$1/usr/lib/f3
  rm -rf "$lib.new"
  mkdir -p "$lib.new"
  cp openwhisk_plugin/runtimes/python/proxy.py openwhisk_plugin/runtimes/node/*.js "$lib.new/"
  gcc -std=gnu11 -O2 -fPIC -shared -pthread -Wl,-soname,libxdt.so.1 \
    -o "$lib.new/libxdt.so.1" xdt/libxdt/channel.c xdt/libxdt/xdt.c
  rm -rf "$lib" && mv "$lib.new" "$lib"
  ln -sf ../f3/libxdt.so.1 "$1/usr/lib/x86_64-linux-gnu/libxdt.so.1"
  ldconfig -r "$1"
  module=$1/usr/share/nodejs/f3
  rm -rf "$module" && mkdir -p "$module" && cp xdt/node/index.js xdt/node/package.json "$module/"
  gcc -std=gnu11 -O2 -fPIC -shared -pthread -I "$1/usr/include/node" -o "$module/f3.node" \
    xdt/node/f3_addon.c xdt/libxdt/channel.c xdt/libxdt/xdt.c
  package=$1/usr/lib/python3/dist-packages/f3
  rm -rf "$package" && mkdir -p "$package" && cp xdt/python/f3/*.py "$package/"
  chroot "$1" /usr/bin/python3 -I -m compileall -q /usr/lib/python3/dist-packages/f3 /usr/lib/f3 >/dev/null
}

write_stamp() {  # DIRECTORY
  printf '%s\n%s\n' "$base_hash" "$own_hash" >"$1/$stamp.new"
  mv "$1/$stamp.new" "$1/$stamp"
}

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
if [ "$(sed -n 1p "$dir/$stamp" 2>/dev/null)" != "$base_hash" ]; then
  echo "== Making the root file system $dir (packages $packages)"
  rm -rf "$dir.new"
  make_base "$dir.new"
  install_own "$dir.new"
  write_stamp "$dir.new"
  rm -rf "$dir.old"
  if [ -e "$dir" ]; then mv "$dir" "$dir.old"; fi
  mv "$dir.new" "$dir"
  rm -rf "$dir.old"
elif [ "$(sed -n 2p "$dir/$stamp")" != "$own_hash" ]; then
  echo "== Renewing F3's files in the root file system $dir"
  install_own "$dir"
  write_stamp "$dir"
fi
