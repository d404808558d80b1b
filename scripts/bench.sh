#!/bin/sh
# bench.sh [WORKLOAD...]: measures F3 on this machine and writes bench/RESULTS.md: builds the release
# binary, starts a cluster of three nodes and runs every workload of `f3 bench` (20 minutes on 2
# cores). With names of workloads: runs these alone and writes nothing. As root. Whatever else runs
# on the machine is in the figures: leave it alone meanwhile.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "bench.sh: run this as root: it starts a cluster" >&2; exit 1; }
all="seq rand meta pull follow xdt patterns faas locality hwalloc"
names=${*:-$all}
for name in $names; do
  case " $all " in
    *" $name "*) ;;
    *) echo "bench.sh: no workload $name; there are: $all" >&2; exit 2 ;;
  esac
done

scripts/setup.sh
scripts/build.sh release f3 bench_functions
rootfs="$PWD/build/rootfs"
case "$names" in *faas*|*locality*) scripts/make_rootfs.sh "$rootfs" ;; esac

load=$(cut -d " " -f 1-3 /proc/loadavg)
commit=$(git rev-parse --short HEAD)
[ -z "$(git status --porcelain -uno)" ] || commit="$commit and changes"
f3="$PWD/build/release/bin/f3"
base=$(mktemp -d /var/tmp/f3-bench-XXXXXX)
finish() {
  "$f3" destroy --dir "$base/cluster" >"$base/log" 2>&1 || { cat "$base/log"; exit 1; }
  rm -rf "$base"
}
trap finish EXIT
trap 'exit 130' INT TERM
echo "== Cluster"
"$f3" up --dir "$base/cluster" --nodes 3

for name in $names; do
  case $name in
    hwalloc) set -- ;;
    faas|locality) set -- --dir "$base/cluster" --rootfs "$rootfs" ;;
    *) set -- --dir "$base/cluster" ;;
  esac
  echo "== f3 bench $name"
  "$f3" bench "$name" "$@" >"$base/$name"
  cat "$base/$name"
done
[ "$names" = "$all" ] || exit 0

{
  cat <<END
# Results

Written by \`scripts/bench.sh\`: every workload of \`f3 bench\` in one run. [README.md](README.md) says what is
compared, and where the time goes where a target is missed. Ratios are of medians; above 1 F3 is better.

| | |
|---|---|
| date, commit | $(date -u +%F), $commit |
| kernel | $(uname -r) |
| processor | $(nproc) x $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1) |
| memory | $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo) |
| load before | $load |
END
  for name in $names; do
    printf '\n## %s\n\n```\n' "$name"
    cat "$base/$name"
    echo '```'
  done
} >bench/RESULTS.md.new
mv bench/RESULTS.md.new bench/RESULTS.md
echo "== Wrote bench/RESULTS.md"
