#!/bin/sh
# Installs the packages of scripts/packages.txt, and npm, that are missing. Does nothing when none is.
set -eu
cd "$(dirname "$0")/.."

missing=""
for package in $(grep -v '^#' scripts/packages.txt); do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
    missing="$missing $package"
done
# Comes with some builds of nodejs, and is a package beside Debian's own.
command -v npm >/dev/null || missing="$missing npm"
if [ -z "$missing" ]; then
  echo "== All packages of scripts/packages.txt are installed."
  exit 0
fi
echo "== Installing:$missing"
if [ "$(id -u)" != 0 ]; then
  echo "Installing packages needs root: run this as root, or install them yourself." >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086  # a list of words
apt-get -qq -y install --no-install-recommends $missing
