#!/bin/sh
# test.sh [--full]: everything that a change must pass: packages, builds, formatting, clang-tidy, unit
# tests in the dev, asan and tsan builds, then end-to-end tests of the release build.
# --full: the sizes of the acceptance lists, clang-tidy of every source, and end-to-end tests with the
# address sanitizer as well. Stops at the first failure. The last lines are ctest's summary.
set -eu
cd "$(dirname "$0")/.."
full=""
case "${1:-}" in
  --full) full=1 ;;
  "") ;;
  *) echo "usage: scripts/test.sh [--full]" >&2; exit 2 ;;
esac

run_tests() {  # PRESET CTEST-ARGUMENTS...
  preset=$1
  shift
  echo "== Tests, $preset build"
  ctest --test-dir "build/$preset" --output-on-failure "$@"
}

scripts/setup.sh
scripts/build.sh dev
scripts/build.sh release e2e_programs
scripts/build.sh asan unit_tests
scripts/build.sh tsan unit_tests
scripts/lint.sh ${full:+--all}

export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=second_deadlock_stack=1
run_tests dev -LE e2e -j 2
run_tests asan -LE 'e2e|grpc' -j 2
# gRPC 1.51's own thread now and then frees a completion queue twice when a client ends.
run_tests asan -L grpc -LE e2e -j 2 --repeat until-pass:2
# gRPC is a library built without the thread sanitizer, which then sees races that are none.
run_tests tsan -LE 'e2e|grpc' -j 2
if [ -n "$full" ]; then
  export F3_FULL=1
  scripts/build.sh asan e2e_programs
  run_tests asan -L e2e -j 2
fi
# Once more when one fails, and both are shown: one that needs it is a fault to be mended.
run_tests release -L e2e -j 2 --repeat until-pass:2
