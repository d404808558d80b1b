"""Passes objects on as a workflow's functions do: pickled and unpickled again."""

import json
import pickle

import platform_exit


class Task:

    def __init__(self, record):
        self.id = record["id"]
        self.name = record["module"] + "." + record["name"]
        self.inputs = tuple(record["calls"])
        self.state = {"lines": record["lines"], "doc": record["doc"], "done": False}


def main():
    with open("data/records.json", encoding="utf-8") as file:
        tasks = [Task(record) for record in json.load(file)[:2000]]
    for step in range(2):
        tasks = pickle.loads(pickle.dumps(tasks, protocol=4))
        for task in tasks[step::2]:
            task.state["done"] = True
    print(len(tasks), sum(task.state["done"] for task in tasks), len(pickle.dumps(tasks)))


platform_exit.run(main)
