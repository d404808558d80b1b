#!/bin/sh
# lint.sh [--all | --format]: formatting of every source, and clang-tidy (.clang-tidy) of the sources
# that this change touches (against the main branch; on it, against the commit before), or of all.
# Tidy needs a built dev preset.
set -eu
cd "$(dirname "$0")/.."
sources() { git ls-files -- '*.cc' '*.h'; }

echo "== Formatting"
sources | xargs clang-format-14 --dry-run -Werror
[ "${1:-}" = --format ] && exit 0

if [ "${1:-}" = --all ]; then
  files=$(git ls-files -- '*.cc' | grep -v '^tests/')
else
  base=$(git merge-base HEAD main 2>/dev/null || git rev-parse HEAD)
  if [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-parse --verify -q 'HEAD^' || git rev-parse HEAD)
  fi
  files=$(git diff --name-only --diff-filter=d "$base" -- '*.cc' | grep -v '^tests/' || true)
fi
[ -n "$files" ] || { echo "== clang-tidy: nothing differs"; exit 0; }
echo "== clang-tidy of $(echo "$files" | wc -l) files"
echo "$files" | xargs -P "$(nproc)" -n 1 clang-tidy-14 -p build/dev --quiet
