"""Fills a database in memory and asks it questions."""

import json
import sqlite3

import platform_exit


def main():
    with open("data/records.json", encoding="utf-8") as file:
        records = json.load(file)
    db = sqlite3.connect(":memory:")
    db.executescript("""
        CREATE TABLE function (id INTEGER PRIMARY KEY, module TEXT, name TEXT, lines INT, doc TEXT);
        CREATE TABLE call (caller INT, callee TEXT);
        CREATE INDEX by_name ON function (name);
        CREATE INDEX by_callee ON call (callee);""")
    with db:
        db.executemany("INSERT INTO function VALUES (?, ?, ?, ?, ?)",
                       ((r["id"], r["module"], r["name"], r["lines"], r["doc"]) for r in records))
        db.executemany("INSERT INTO call VALUES (?, ?)",
                       ((r["id"], callee) for r in records for callee in r["calls"]))
    rows = db.execute("""SELECT module, count(*), sum(lines), max(length(doc)) FROM function
                         GROUP BY module ORDER BY 3 DESC""").fetchall()
    callers = 0
    for record in records[::10]:
        callers += db.execute("""SELECT count(DISTINCT f.module) FROM call c
                                 JOIN function f ON f.id = c.caller WHERE c.callee = ?""",
                              (record["name"],)).fetchone()[0]
    print(len(rows), rows[0], callers)


platform_exit.run(main)
