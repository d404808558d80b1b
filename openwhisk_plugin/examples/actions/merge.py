"""{"results": what the counts returned, in order, "into"}: one table and one compressed file.

Both are durable ("outputs" in deploy.js): once this returns they survive any crash.
"""

import collections
import json
import os
import shutil

import f3


def main(args):
    results = args["results"]
    total = collections.Counter()
    for view in f3.get_many([result["counts"] for result in results], timeout=60):
        with view:
            total.update(json.loads(bytes(view.data)))
    into = args["into"]
    os.makedirs(into, exist_ok=True)
    table = os.path.join(into, "counts.tsv")
    with open(table, "w", encoding="ascii") as out:
        for word, count in total.most_common():
            out.write(f"{word}\t{count}\n")
    packed = os.path.join(into, "text.gz")
    with open(packed, "wb") as out:  # gzip members behind one another are a gzip file
        for result in results:
            with open(result["compressed"], "rb") as part:
                shutil.copyfileobj(part, out, 4 << 20)
    return {"table": table, "compressed": packed, "into": into,
            "bytes": sum(result["bytes"] for result in results)}
