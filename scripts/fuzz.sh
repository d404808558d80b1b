#!/bin/sh
# fuzz.sh [SECONDS]: builds the fuzzers (tests/fuzz, preset fuzz) and runs each of them for so long, by
# default 600 seconds, one per core at a time. What they learn stays in build/fuzz/corpus/NAME and the
# next run goes on from there; what they say is in build/fuzz/NAME.log, the end of it shown here. Fails
# when an input fails; its file's name is among the last lines.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}
case "$seconds" in
  ''|*[!0-9]*) echo "usage: scripts/fuzz.sh [SECONDS]" >&2; exit 2 ;;
esac
fuzzers="wire_fuzzer control_fuzzer client_message_fuzzer request_fuzzer hints_fuzzer"

# shellcheck disable=SC2086  # one argument for each
scripts/build.sh fuzz $fuzzers
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
# The entropic schedule costs more than the server that it would choose inputs for.
# shellcheck disable=SC2016  # the inner shell's $1
echo "$fuzzers" | tr ' ' '\n' | xargs -P "$(nproc)" -I{} sh -c '
  corpus=build/fuzz/corpus/$1 log=build/fuzz/$1.log
  mkdir -p "$corpus"
  echo "== $1, $2 seconds"
  result=0
  "build/fuzz/bin/$1" -entropic=0 -max_total_time="$2" -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$corpus-" "$corpus" > "$log" 2>&1 || result=$?
  echo "== $1 ended with $result"
  grep -v "^\[libprotobuf" "$log" | tail -n 7
  exit $result' sh {} "$seconds"
