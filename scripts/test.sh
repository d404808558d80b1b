#!/bin/sh
# test.sh [--full]: everything that a change must pass: packages, builds, formatting, clang-tidy, unit
# tests in the dev, asan and tsan builds, then end-to-end tests of the release build.
# --full: the sizes of the acceptance lists, but with the sanitizers, and clang-tidy of every source.
# Stops at the first failure. The last lines are ctest's summary.
set -eu
cd "$(dirname "$0")/.."
full=""
limit=900  # seconds for one test
case "${1:-}" in
  --full) full=1 limit=3600 ;;
  "") ;;
  *) echo "usage: scripts/test.sh [--full]" >&2; exit 2 ;;
esac

run_tests() {  # PRESET CTEST-ARGUMENTS...
  preset=$1
  shift
  echo "== Tests, $preset build"
  ctest --test-dir "build/$preset" --output-on-failure --timeout $limit "$@"
}

scripts/setup.sh
scripts/build.sh dev
scripts/build.sh release e2e_programs
scripts/build.sh asan unit_tests
scripts/build.sh tsan unit_tests
scripts/lint.sh ${full:+--all}

export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
# LevelDB is built without the thread sanitizer: its atomics are not seen, its memcpy and memcmp are.
export TSAN_OPTIONS=second_deadlock_stack=1:ignore_noninstrumented_modules=1
[ -z "$full" ] || export F3_FULL=1
run_tests dev -LE e2e -j 2
unset F3_FULL
run_tests asan -LE e2e -j 2
# gRPC is a library built without the thread sanitizer, which then sees races that are none.
run_tests tsan -LE 'e2e|grpc' -j 2
[ -z "$full" ] || export F3_FULL=1
# Once more when one fails, and both are shown: one that needs it is a fault to be mended.
run_tests release -L e2e -j 2 --repeat until-pass:2
