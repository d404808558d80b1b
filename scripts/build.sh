#!/bin/sh
# build.sh PRESET [TARGET...]: configures and builds with the compiler cache.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-4G}"
echo "== Building $preset${*:+ ($*)}"
# Build directories from before there was C code have another C compiler than the presets name, and
# CMake would forget the preset's other settings when it changes that.
if grep -qs '^CMAKE_C_COMPILER:[A-Z]*=/usr/bin/cc$' "build/$preset/CMakeCache.txt"; then
  rm -rf "build/$preset/CMakeCache.txt" "build/$preset/CMakeFiles"
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Configuring says much and rarely anything of interest.
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; exit 1; }
cmake --build "build/$preset" --parallel "$(nproc)" ${1:+--target "$@"}
