"""{"part"}: counts the words of one part and compresses it.

The compressed part is a file again and its path is returned. The counts, above a megabyte of JSON,
which is more than a result of an action may be, are handed over as an XDT reference.
"""

import collections
import json
import zlib

import f3

READ_BYTES = 4 << 20


def main(args):
    part = args["part"]
    counts = collections.Counter()
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)  # a gzip member
    packed = part.removesuffix(".part") + ".gz.part"
    size, begun = 0, b""
    with open(part, "rb") as source, open(packed, "wb") as target:
        while data := source.read(READ_BYTES):
            size += len(data)
            target.write(compressor.compress(data))
            words, newline, begun_next = (begun + data).rpartition(b"\n")
            counts.update((words if newline else b"").split())
            begun = begun_next
        counts.update(begun.split())
        target.write(compressor.flush())
    table = json.dumps({word.decode(): count for word, count in counts.items()}).encode()
    return {"compressed": packed, "bytes": size, "counts": f3.put(table, lifetime=600),
            "counts_bytes": len(table)}
