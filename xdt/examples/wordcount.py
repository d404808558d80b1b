"""Map-reduce word count between processes on several nodes, by reference.

    wordcount.py SOCKET,SOCKET,... FILE...      prints the ten most frequent words

Each socket is a node's. Mappers run at each in turn; a mapper's input is a reference, its output one
reference per reducer (scatter); a reducer gathers the parts of its share of the words. Nothing but
references travels between the processes.
"""

import collections
import concurrent.futures
import json
import multiprocessing
import os
import re
import sys
import zlib

REDUCERS = 3


def at(socket):
    """This process's client at that node."""
    import f3
    return f3.Client(socket)


def map_words(socket, reference):
    """Counts the words of one input; one reference for each reducer."""
    client = at(socket)
    from f3 import patterns
    text = bytes(client.get(reference).data).decode(errors="replace").lower()
    shares = [collections.Counter() for _ in range(REDUCERS)]
    for word in re.findall(r"[a-z]+", text):
        shares[zlib.crc32(word.encode()) % REDUCERS][word] += 1
    return patterns.scatter([json.dumps(share).encode() for share in shares], client=client)


def reduce_words(socket, references):
    """Adds up one share; a reference to it."""
    client = at(socket)
    from f3 import patterns
    total = collections.Counter()
    for view in patterns.gather(references, client=client):
        total.update(json.loads(bytes(view.data)))
    return patterns.one_to_one(json.dumps(total).encode(), client=client)


def word_count(sockets, files):
    """Counter of all words of the files."""
    from f3 import patterns
    client = at(sockets[0])
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(len(sockets), mp_context=context) as pool:
        inputs = []
        for file in files:
            with open(file, "rb") as text:
                inputs.append(client.put_fd(text))
        mapped = pool.map(map_words, [sockets[i % len(sockets)] for i in range(len(inputs))],
                          inputs)
        shares = zip(*mapped)
        reduced = pool.map(reduce_words, [sockets[i % len(sockets)] for i in range(REDUCERS)],
                           [list(share) for share in shares])
        total = collections.Counter()
        for view in patterns.gather(list(reduced), client=client):
            total.update(json.loads(bytes(view.data)))
    return total


if __name__ == "__main__":
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
    for word, count in word_count(sys.argv[1].split(","), sys.argv[2:]).most_common(10):
        print(count, word)
