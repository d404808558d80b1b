#!/usr/bin/python3
"""Instructions that functions of the trace set run under glibc's allocator and under libhwalloc.so, by
valgrind --tool=callgrind: repeatable where times are not. Prints for each function the part of all
instructions that glibc's allocator runs, and hwalloc's total as part of glibc's.

    apt-get install valgrind
    scripts/build.sh release f3 bench_functions && scripts/count_instructions.py [NAME...]

NAME: a function of bench/functions/functions.txt (default: all of C++ and Python, some minutes).
Node.js makes its code at run time and is left out by default."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUNCTIONS = ROOT / "bench/functions"
BINARIES = ROOT / "build/release/bin"
LIBRARY = ROOT / "build/release/lib/libhwalloc.so"
# What glibc 2.36 spends on an allocator's behalf, and the operators that call it.
ALLOCATOR = re.compile(
    r":(malloc|free|calloc|realloc|_int_\w+|malloc_consolidate|unlink_chunk\S*|sysmalloc|systrim\S*|"
    r"tcache\S*|_mid_memalign|operator (new|delete)\b.*)( |\[|\(|$)")


def functions():
    for line in (FUNCTIONS / "functions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, language, *command = line.split()
            yield name, language, [word.replace("@bin", str(BINARIES)) for word in command]


def count(command, preload=None):
    """(all instructions, those of glibc's allocator) of one run."""
    env = dict(os.environ, LD_PRELOAD=str(preload)) if preload else os.environ
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", *command],
                       cwd=FUNCTIONS, env=env, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        listing = subprocess.run(["callgrind_annotate", "--threshold=100", out.name], check=True,
                                 text=True, capture_output=True).stdout
    total = allocator = 0
    for line in listing.splitlines():
        if match := re.match(r"\s*([\d,]+)\s*\(.*?\)\s+(.*)", line):
            instructions, where = int(match[1].replace(",", "")), match[2]
            if "PROGRAM TOTALS" in where:
                total = instructions
            elif ALLOCATOR.search(where):
                allocator += instructions
    return total, allocator


def main():
    names = sys.argv[1:]
    known = list(functions())
    if unknown := set(names) - {name for name, _, _ in known}:
        sys.exit(f"count_instructions.py: no function {', '.join(sorted(unknown))}; there are: "
                 + ", ".join(name for name, _, _ in known))
    print(f"{'function':<10} {'instructions':>15} {'in the allocator':>17} {'hwalloc/glibc':>14}")
    for name, language, command in known:
        if name in names or (not names and language != "node"):
            total, allocator = count(command)
            ours, _ = count(command, LIBRARY)
            print(f"{name:<10} {total:>15,} {allocator / total:>16.1%} {ours / total:>14.3f}", flush=True)


if __name__ == "__main__":
    main()
