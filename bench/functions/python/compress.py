"""Packs files into a compressed archive in memory and unpacks it."""

import io
import tarfile
import zlib

import platform_exit


def main():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=3) as archive:
        for name in ("records.json", "graph.txt", "access.log"):
            archive.add("data/" + name, arcname=name)
    packed.seek(0)
    sums = []
    with tarfile.open(fileobj=packed) as archive:
        for member in archive:
            sums.append(zlib.crc32(archive.extractfile(member).read()))
    print(packed.getbuffer().nbytes, *sums)


platform_exit.run(main)
