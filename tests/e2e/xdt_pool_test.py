"""A pool that is much smaller than what is put: 64 functions at once, without and with spilling.

What values take is watched all the while, in the ledger and in the memory that is charged to the
agent. F3_FULL=1: a pool of 256 MB and 64 values of 64 MB each.
"""

import collections
import os
import queue
import threading
import unittest

from cgroups import MemoryCgroup
from harness import ClusterTest, Cluster, ExtraNode, ask, wait_until
from xdt_harness import Function, buffers_in

MIB = 1 << 20
FULL = bool(os.environ.get("F3_FULL"))
POOL = (256 if FULL else 32) * MIB
SIZE = (64 if FULL else 8) * MIB
PUTTERS = 64
# Processes; each has threads with a connection of their own.
SENDERS, RECEIVERS = 8, 4
PATIENCE = 500 if FULL else 100  # seconds; of one call
# What a kernel may count late, in batches of pages.
COUNTED_LATE = 4 * MIB

# A value's blocks are alike but for their first bytes.
PIECES = """
import queue, random, threading, time
def block(number):
    return random.Random(number).randbytes(1 << 20)
def put_one(number, size, timeout, done):
    try:
        client = f3.Client()
        asked = time.monotonic()
        buffer = client.alloc(size, timeout=timeout)
        given = time.monotonic()
        text = block(number)
        for at in range(0, size, len(text)):
            buffer.data[at:at + len(text)] = text
            buffer.data[at:at + 8] = at.to_bytes(8, "little")
        done.put((number, buffer.put(size, timeout=timeout), given - asked))
    except Exception as error:
        done.put((number, None, repr(error)))
def start_puts(numbers, size, timeout):
    global done
    done = queue.Queue()
    for number in numbers:
        threading.Thread(target=put_one, args=(number, size, timeout, done)).start()
def check_one(number, reference, size, timeout):
    view = f3.get(reference, timeout)
    text = block(number)
    good = len(view) == size
    for at in range(0, size, len(text)):
        good = good and bytes(view.data[at:at + 8]) == at.to_bytes(8, "little")
        good = good and bytes(view.data[at + 8:at + len(text)]) == text[8:]
    view.release()
    return good
"""


class Watch:
    """Samples a node's ledger and its charged memory until its end; the most that was seen."""

    def __init__(self, node, cgroup):
        self._node, self._cgroup = node, cgroup
        self._before = cgroup.shared_bytes()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.most = collections.Counter()
        self.samples = 0
        self.failure = None

    def _sample(self):
        try:
            while not self._over.is_set():
                pid = self._node.process.pid
                for name, value in (("ledger", values_in(self._node)),
                                    ("open", buffers_in(pid)),
                                    ("charged", self._cgroup.shared_bytes() - self._before)):
                    self.most[name] = max(self.most[name], value)
                self.samples += 1
        except Exception as error:
            self.failure = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def values_in(node):
    """What the ledger says that values take."""
    for line in ask(node.control, op="status")["memory"]:
        if line["owner"] == "functions' buffers":
            assert line["granted_bytes"] == POOL
            return line["used_bytes"]
    raise AssertionError("the ledger has no line for functions' buffers")


class Pool(ClusterTest):

    TIME_LIMIT = 1500 if FULL else 400

    @classmethod
    def make_cluster(cls):
        return Cluster(nodes=1)

    def start(self, *settings):
        """(node, its memory's cgroup, functions that put, functions that get)."""
        path = self.c.dir.parent / "pool.sock"
        cgroup = self.enterContext(MemoryCgroup())
        node = self.enterContext(ExtraNode(
            self.c, settings=["--xdt", path, "--xdt-memory", str(POOL), *settings]))
        cgroup.add(node.process.pid)
        functions = [self.enterContext(Function(self.c, 1, path))
                     for _ in range(SENDERS + RECEIVERS)]
        for function in functions:
            function.do(PIECES)
        return node, cgroup, functions[:SENDERS], functions[SENDERS:]

    def start_puts(self, senders):
        for i, sender in enumerate(senders):
            numbers = list(range(i, PUTTERS, len(senders)))
            sender.do(f"start_puts({numbers}, {SIZE}, {PATIENCE})")

    def finished(self, sender, count):
        """The next so many of a sender's values, when they have been put."""
        done = sender.do(f"[done.get(timeout={PATIENCE + 20}) for _ in range({count})]",
                         PATIENCE + 60)
        for number, reference, how in done:
            self.assertIsNotNone(reference, f"value {number}: {how}")
        return done

    def get(self, receiver, values):
        for number, reference, _ in values:
            receiver.start(f"check_one({number}, {reference!r}, {SIZE}, {PATIENCE})")
            self.assertTrue(receiver.result(PATIENCE + 60), f"value {number} has wrong bytes")

    def in_threads(self, work):
        """Calls each of `work` in a thread; raises what one of them raised."""
        failures = []

        def call(one):
            try:
                one()
            except BaseException as error:  # noqa: B902 - told to the test's own thread
                failures.append(error)
        threads = [threading.Thread(target=call, args=(one,)) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def check_bounds(self, watch):
        self.assertIsNone(watch.failure)
        print(f"{watch.samples} samples, at most {dict(watch.most)} of {POOL}", flush=True)
        self.assertGreater(watch.samples, 20)
        self.assertLessEqual(watch.most["ledger"], POOL)
        self.assertLessEqual(watch.most["open"], POOL)
        self.assertLessEqual(watch.most["charged"], POOL + COUNTED_LATE)
        # It was full, or this says nothing.
        self.assertGreater(watch.most["ledger"], POOL - SIZE)

    def check_given_back(self, node):
        wait_until(lambda: (values_in(node), buffers_in(node.process.pid)) == (0, 0), timeout=30,
                   what="the end of all buffers")

    def test_putters_wait_while_receivers_take_and_release(self):
        node, cgroup, senders, receivers = self.start()
        each = PUTTERS // SENDERS
        with Watch(node, cgroup) as watch:
            self.start_puts(senders)

            # Taken in the order that they are ready in: who waits for one holds up nobody.
            ready = queue.Queue()

            def collect(sender):
                for _ in range(each):
                    ready.put(self.finished(sender, 1))

            def take(receiver):
                for _ in range(PUTTERS // RECEIVERS):
                    self.get(receiver, ready.get(timeout=PATIENCE + 30))
            self.in_threads([lambda s=s: collect(s) for s in senders] +
                            [lambda r=r: take(r) for r in receivers])
        self.check_bounds(watch)
        self.assertEqual(ask(node.control, op="status")["xdt"]["spilled_bytes"], 0)
        self.check_given_back(node)

    def test_putters_go_on_where_values_are_spilled(self):
        node, cgroup, senders, receivers = self.start("--xdt-spill")
        each = PUTTERS // SENDERS
        with Watch(node, cgroup) as watch:
            self.start_puts(senders)
            # Nobody takes anything before all have put.
            values = [value for sender in senders for value in self.finished(sender, each)]
            self.assertEqual(len(values), PUTTERS)
            self.assertGreaterEqual(ask(node.control, op="status")["xdt"]["spilled_bytes"],
                                    PUTTERS * SIZE - POOL)
            self.in_threads([lambda r=r, i=i: self.get(r, values[i::RECEIVERS])
                             for i, r in enumerate(receivers)])
        self.check_bounds(watch)
        self.check_given_back(node)


if __name__ == "__main__":
    unittest.main()
