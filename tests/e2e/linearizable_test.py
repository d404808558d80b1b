"""Recorded histories of concurrent operations from three nodes have a linear order that explains
them: of the names in one directory, and of the bytes of one file that all have open."""

import errno
import os
import random
import threading
import time
import unittest

from harness import Cluster, make_ephemeral_dir

FULL = bool(os.environ.get("F3_FULL"))
ROUNDS = 60 if FULL else 8
OPERATIONS = 14  # of each node in a round; the search for an order grows fast with it


class Event:
    def __init__(self, start, end, call, arguments, result):
        self.start, self.end = start, end
        self.call, self.arguments, self.result = call, arguments, result

    def __repr__(self):
        return f"[{self.start:.6f} {self.end:.6f}] {self.call}{self.arguments} = {self.result}"


def linear(histories, state, apply):
    """Whether some order that respects each history, and the times between them, explains every
    result. `apply(state, event)` gives the next state, or None when the result is impossible."""
    seen = set()

    def search(at, state):
        if all(i == len(h) for i, h in zip(at, histories)):
            return True
        if (at, state) in seen:
            return False
        seen.add((at, state))
        heads = [h[i] for i, h in zip(at, histories) if i < len(h)]
        earliest_end = min(event.end for event in heads)
        for k, history in enumerate(histories):
            if at[k] == len(history) or history[at[k]].start > earliest_end:
                continue
            after = apply(state, history[at[k]])
            if after is None:
                continue
            if search(at[:k] + (at[k] + 1,) + at[k + 1:], after):
                return True
        return False

    return search((0,) * len(histories), state)


def apply_names(state, event):
    """State: pairs (name, inode), sorted; "was NAME" is what a rename took from NAME (9.5)."""
    names = dict(state)
    first = event.arguments[0]
    if event.call == "create":
        if first in names:
            return state if event.result == errno.EEXIST else None
        if not isinstance(event.result, str):
            return None
        names[first] = event.result
        names.pop("was " + first, None)
    elif event.call == "stat":
        expected = names.get(first, errno.ENOENT)
        return state if event.result == expected else None
    elif event.call == "unlink":
        if first not in names:
            return state if event.result == errno.ENOENT else None
        if event.result != 0:
            return None
        del names[first]
    else:  # rename
        second = event.arguments[1]
        if first not in names:
            there = second in names and names[second] == names.get("was " + first)
            return state if event.result == errno.ENOENT or (event.result == 0 and there) else None
        if event.result != 0:
            return None
        names[second] = names["was " + first] = names.pop(first)
        names.pop("was " + second, None)
    return tuple(sorted(names.items()))


def apply_register(state, event):
    if event.call == "write":
        return event.arguments[0]
    return state if event.result == state else None


class Linearizable(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster())

    def record(self, workers):
        """Runs one function per node at once; each gets a function that records a call."""
        histories = [[] for _ in workers]
        gate = threading.Barrier(len(workers))
        failures = []

        def run(work, history):
            def call(name, arguments, body):
                start = time.monotonic()
                try:
                    result = body()
                except OSError as error:
                    result = error.errno
                history.append(Event(start, time.monotonic(), name, arguments, result))
            try:
                gate.wait(timeout=60)
                work(call)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run, args=pair) for pair in zip(workers, histories)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
            self.assertFalse(thread.is_alive(), "an operation hangs")
        self.assertFalse(failures, failures)
        return histories

    def explain(self, seed, histories, state, apply):
        if not linear(histories, state, apply):
            text = "\n".join(map(str, sorted(sum(histories, []), key=lambda e: e.start)))
            self.fail(f"no order explains this (seed {seed}):\n{text}")

    def test_3_5_names_in_one_directory(self):
        for round_number in range(ROUNDS):
            seed = random.randrange(1 << 32)
            name = f"dir{round_number}"
            make_ephemeral_dir(self.cluster.n(1) / name)
            workers = [self.names_worker(self.cluster.n(i) / name, random.Random(seed + i))
                       for i in (1, 2, 3)]
            self.explain(seed, self.record(workers), (), apply_names)

    @staticmethod
    def names_worker(directory, chance):
        def create(path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                return f"inode {os.fstat(fd).st_ino}"
            finally:
                os.close(fd)

        def work(call):
            for _ in range(OPERATIONS):
                first, second = chance.sample(["a", "b", "c"], 2)
                path, other = directory / first, directory / second
                what = chance.choice(["create", "create", "stat", "stat", "unlink", "rename"])
                if what == "create":
                    call(what, (first,), lambda: create(path))
                elif what == "stat":
                    call(what, (first,), lambda: f"inode {os.stat(path).st_ino}")
                elif what == "unlink":
                    call(what, (first,), lambda: os.unlink(path) or 0)
                else:
                    call(what, (first, second), lambda: os.rename(path, other) or 0)
        return work

    def test_1_7_bytes_of_a_file_that_all_write(self):
        for round_number in range(ROUNDS):
            seed = random.randrange(1 << 32)
            path = self.cluster.n(1) / f"register{round_number}"
            path.write_bytes(b"\0")
            opened = [os.open(self.cluster.n(i) / path.name, os.O_RDWR) for i in (1, 2, 3)]
            try:
                workers = [self.register_worker(fd, random.Random(seed + i), 10 + 80 * i)
                           for i, fd in enumerate(opened)]
                self.explain(seed, self.record(workers), 0, apply_register)
            finally:
                for fd in opened:
                    os.close(fd)

    @staticmethod
    def register_worker(fd, chance, first_value):
        def work(call):
            value = first_value
            for _ in range(OPERATIONS):
                if chance.random() < 0.5:
                    value += 1
                    call("write", (value,), lambda: os.pwrite(fd, bytes([value]), 0))
                else:
                    call("read", (), lambda: os.pread(fd, 1, 0)[0])
        return work


if __name__ == "__main__":
    unittest.main()
