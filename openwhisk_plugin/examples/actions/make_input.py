"""{"path", "megabytes", "seed"}: writes a text of that size, always the same for a seed."""

import os
import random

VOCABULARY = 250_000
BLOCK_LINES = 2_000


def blocks(seed):
    """Lines of made-up words, the low-numbered ones more often, as in real text."""
    numbers = random.Random(seed)
    words = [f"{'aeiou'[n % 5]}{n:x}".translate(str.maketrans("0123456789", "bcdfghjklm"))
             for n in range(VOCABULARY)]
    while True:
        yield "".join(" ".join(words[int(VOCABULARY * numbers.random() ** 3)]
                               for _ in range(12)) + "\n"
                      for _ in range(BLOCK_LINES)).encode()


def main(args):
    size = int(args.get("megabytes", 100)) << 20
    path = args["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Twenty blocks are written again and again: making words is not what is shown here.
    source = blocks(args.get("seed", 1))
    some = [next(source) for _ in range(20)]
    written = 0
    with open(path, "wb") as out:
        while written < size:
            written += out.write(some[written // len(some[0]) % len(some)])
    return {"path": path, "bytes": written}
