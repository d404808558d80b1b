"""Extracts what patterns find in a web server's log and in a text."""

import re

import platform_exit

REQUEST = re.compile(r'(?P<host>\S+) \S+ \S+ \[(?P<time>[^]]+)\] "(?P<verb>\w+) '
                     r'(?P<path>/(?P<module>\w+)/(?P<name>\w+)) [^"]*" (?P<status>\d+) (?P<bytes>\d+)')
PATTERNS = [r"https?://[\w./-]+", r"[\w.+-]+@[\w-]+\.[\w.]+", r"\b[A-Z][a-z]+ [A-Z][a-z]+\b",
            r"\b\d{4}(?:-\d{2}){0,2}\b"]


def main():
    totals = {}
    with open("data/access.log", encoding="utf-8") as file:
        for line in file:
            match = REQUEST.match(line).groupdict()
            key = (match["module"], match["status"])
            count, size = totals.get(key, (0, 0))
            totals[key] = (count + 1, size + int(match["bytes"]))
    with open("data/text.txt", encoding="utf-8") as file:
        text = file.read()
    found = [len(set(re.findall(pattern, text))) for pattern in PATTERNS]
    print(len(totals), sum(size for _, size in totals.values()), *found)


platform_exit.run(main)
