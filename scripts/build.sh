#!/bin/sh
# build.sh PRESET [TARGET...]: configures and builds with the compiler cache.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE="${CCACHE_MAXSIZE:-4G}"
echo "== Building $preset${*:+ ($*)}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Configuring says much and rarely anything of interest.
cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; exit 1; }
cmake --build "build/$preset" --parallel "$(nproc)" ${1:+--target "$@"}
