#!/bin/sh
# fuzz.sh [SECONDS]: builds the fuzzers (tests/fuzz, preset fuzz) and runs each of them for so long,
# by default 600 seconds. What they learn stays in build/fuzz/corpus/NAME and the next run goes on
# from there. Stops at the first input that fails; its file's name is among the last lines.
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
for fuzzer in $fuzzers; do
  echo "== $fuzzer, $seconds seconds"
  corpus=build/fuzz/corpus/$fuzzer
  mkdir -p "$corpus"
  # The entropic schedule costs more than the server that it would choose inputs for.
  "build/fuzz/bin/$fuzzer" -entropic=0 -max_total_time="$seconds" -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$corpus-" "$corpus"
done
