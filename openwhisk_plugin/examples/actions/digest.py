"""{"path"} or {"reference"}: SHA-256 and size of an input, in much less memory than it has bytes."""

import hashlib

import f3

READ_BYTES = 1 << 20


def pieces(args):
    if "reference" in args:
        with f3.stream(args["reference"], timeout=60) as view:
            yield from view.chunks(timeout=60)
    else:
        with open(args["path"], "rb") as source:
            while data := source.read(READ_BYTES):
                yield data


def main(args):
    digest, size = hashlib.sha256(), 0
    for piece in pieces(args):
        digest.update(piece)
        size += len(piece)
    return {"sha256": digest.hexdigest(), "bytes": size}
