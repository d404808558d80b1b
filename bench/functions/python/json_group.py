"""Parses a document, groups its records and serialises the answer."""

import json

import platform_exit


def main():
    with open("data/records.json", encoding="utf-8") as file:
        body = file.read()
    records = json.loads(body)
    groups = {}
    for record in records:
        key = (record["module"], record["public"])
        group = groups.setdefault(key, {"count": 0, "lines": 0, "names": []})
        group["count"] += 1
        group["lines"] += record["lines"]
        group["names"].append(record["name"])
    answer = json.dumps([{"module": m, "public": p, **g} for (m, p), g in groups.items()],
                        indent=1)
    print(len(records), len(groups), len(answer))


platform_exit.run(main)
