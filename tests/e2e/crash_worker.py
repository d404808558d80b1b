"""Writes files on one mount until told to stop, and records what the file system promised.

Arguments: DIRECTORY JOURNAL SEED. Each file's content is made from its name and version, so that a
reader can tell which version it sees. A line "try NAME VERSION" is written before an attempt and
"done NAME VERSION" after close or fsync said that it is there. Ends with the end of its input.
"""

import hashlib
import os
import random
import select
import sys


def content(name, version):
    """The bytes of a version: a header line, then up to 300 KB that depend on both."""
    seed = hashlib.sha256(f"{name} {version}".encode()).digest()
    size = int.from_bytes(seed[:4], "little") % 300_000
    body = (seed * (size // len(seed) + 1))[:size]
    return f"{name} {version}\n".encode() + body


def put(path, data, how):
    """Writes a file whole; how: over it, beside it and renamed, or fsync before close."""
    target = path + ".new" if how == "rename" else path
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view):]
        if how == "fsync":
            os.fsync(fd)
    finally:
        os.close(fd)
    if how == "rename":
        os.rename(target, path)


def main():
    directory, journal_path, seed = sys.argv[1:]
    chance = random.Random(seed)
    journal = open(journal_path, "a+", buffering=1, encoding="ascii")
    journal.seek(0)
    version = sum(line.startswith("try ") for line in journal)
    while not select.select([sys.stdin], [], [], 0)[0]:
        version += 1
        name = f"f{chance.randrange(6)}"
        how = chance.choice(["plain", "rename", "fsync"])
        journal.write(f"try {name} {version}\n")
        try:
            put(os.path.join(directory, name), content(name, version), how)
        except OSError as error:
            journal.write(f"failed {name} {version} {error.errno}\n")
            select.select([sys.stdin], [], [], 0.05)  # the mount may be away for a moment
            continue
        journal.write(f"done {name} {version}\n")


if __name__ == "__main__":
    main()
