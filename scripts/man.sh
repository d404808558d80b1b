#!/bin/sh
# man.sh DIRECTORY [F3]: writes a man page for each command, from the text of its --help.
set -eu
cd "$(dirname "$0")/.."
directory=$1
f3=${2:-build/release/bin/f3}
mkdir -p "$directory"
subcommands() {
  "$f3" help "$@" | awk '/^Subcommands:/ { on = 1; next } /^[^ ]/ { on = 0 } on && /^  [a-z]/ { print $1 }'
}
"$f3" help --man >"$directory/f3.1"
for command in $(subcommands); do
  "$f3" help --man "$command" >"$directory/f3-$command.1"
  for sub in $(subcommands "$command"); do
    "$f3" help --man "$command" "$sub" >"$directory/f3-$command-$sub.1"
  done
done
