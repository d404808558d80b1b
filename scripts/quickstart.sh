#!/bin/sh
# From a fresh Debian 12 to a running demonstration: installs what is missing, builds the release
# binary, runs `f3 demo`. Can be repeated; each step does only what is not done yet.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "F3 mounts file systems and makes network namespaces: run this as root." >&2
  exit 1
fi
echo "== 1/3 Packages"
scripts/setup.sh
echo "== 2/3 Build (some minutes the first time)"
scripts/build.sh release f3
echo "== 3/3 Demonstration: build/release/bin/f3 demo"
build/release/bin/f3 demo
cat <<'END'

Next:
  build/release/bin/f3 up          a cluster of three nodes that stays, at /var/lib/f3
  build/release/bin/f3 --help      everything else
  scripts/install.sh               put f3, its man pages and mount.fuse.f3 into place
END
