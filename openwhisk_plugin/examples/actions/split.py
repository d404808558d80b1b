"""{"path", "parts", "into"}: cuts a text file into parts of whole lines. Returns their paths."""

import os

COPY_BYTES = 4 << 20


def copy(source, target, size):
    """Copies `size` bytes and then up to the line's end. Returns how many."""
    copied = 0
    while copied < size:
        data = source.read(min(COPY_BYTES, size - copied))
        if not data:
            return copied
        target.write(data)
        copied += len(data)
    rest = source.readline()
    target.write(rest)
    return copied + len(rest)


def main(args):
    parts = int(args["parts"])
    os.makedirs(args["into"], exist_ok=True)
    paths, done = [], 0
    with open(args["path"], "rb") as source:
        total = os.fstat(source.fileno()).st_size
        for number in range(parts):
            path = os.path.join(args["into"], f"{number:03d}.part")
            with open(path, "wb") as target:
                done += copy(source, target, max(0, total * (number + 1) // parts - done))
            paths.append(path)
    return {"parts": paths, "bytes": done}
