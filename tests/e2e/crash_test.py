"""Daemons are killed under load; what was promised is checked afterwards. SEMANTICS.md, 2 and 7."""

import contextlib
import errno
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from crash_worker import content
from harness import Cluster, make_ephemeral_dir, wait_until

FULL = bool(os.environ.get("F3_FULL"))
ROUNDS = 50 if FULL else 6
HERE = pathlib.Path(__file__).resolve().parent


class Worker:
    """crash_worker.py on one mount."""

    def __init__(self, directory, journal, seed):
        self.directory = directory
        self.journal = journal
        self.process = subprocess.Popen(
            [sys.executable, "-B", HERE / "crash_worker.py", directory, journal, str(seed)],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=90)
        finally:
            self.process.kill()
            self.process.wait()

    def events(self):
        for line in self.journal.read_text().splitlines():
            words = line.split()
            yield words[0], words[1], int(words[2])

    def done(self):
        """Per file the last version that was promised."""
        return {name: version for what, name, version in self.events() if what == "done"}


class Kill(unittest.TestCase):
    def setUp(self):
        self.cluster = self.enterContext(Cluster(memory="64M"))
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.seed = random.randrange(1 << 32)
        self.chance = random.Random(self.seed)

    def check(self, worker, node, round_number):
        promised = worker.done()
        tried = {(name, version) for _, name, version in worker.events()}
        for name, version in promised.items():
            where = f"seed {self.seed}, round {round_number}, {worker.directory}/{name} at n{node}"
            path = self.cluster.n(node) / pathlib.Path(worker.directory).name / name
            data = path.read_bytes()
            self.assertTrue(data, f"{where}: empty, but version {version} was closed")
            seen = int(data.split(b"\n", 1)[0].split()[1])
            self.assertGreaterEqual(seen, version, f"{where}: an older version than promised")
            self.assertIn((name, seen), tried, where)
            self.assertEqual(data, content(name, seen), f"{where}: torn")

    def test_durable_files_survive_every_death(self):
        workers = []
        for node in (1, 2, 3):
            directory = self.cluster.n(node) / f"w{node}"
            directory.mkdir()
            workers.append((directory, self.scratch / f"journal{node}"))
        for round_number in range(ROUNDS):
            running = [Worker(directory, journal, self.chance.random())
                       for directory, journal in workers]
            try:
                self.let_them_write(running)
                victims = self.chance.choice([["meta"], ["n1"], ["n2"], ["meta", "n3"],
                                              ["n1", "n2"], ["meta", "n1", "n2", "n3"]])
                for victim in victims:
                    self.cluster.kill(victim, wait=False)
                self.cluster.wait_healthy(timeout=90)
                self.let_them_write(running)
            finally:
                for worker in running:
                    worker.stop()
            for worker in running:
                self.check(worker, self.chance.choice([1, 2, 3]), round_number)
        report = self.cluster.json("fsck", "--repair", timeout=300)
        again = self.cluster.json("fsck", timeout=300)
        self.assertTrue(again["clean"], (report["problems"], again["problems"]))

    def let_them_write(self, running):
        """Returns when each worker has had a few more files accepted."""
        goals = {worker: self.accepted(worker) + self.chance.randint(2, 12) for worker in running}
        wait_until(lambda: all(self.accepted(worker) >= goal for worker, goal in goals.items()),
                   timeout=90, what="files that are accepted")

    @staticmethod
    def accepted(worker):
        if not worker.journal.exists():
            return 0
        return sum(what == "done" for what, _, _ in worker.events())

    def test_ephemeral_files_come_back_with_their_node(self):
        place = make_ephemeral_dir(self.cluster.n(1) / "e")
        (place / "here").write_bytes(b"home on n1" * 1000)
        (place / "copied").write_bytes(b"also on n2" * 1000)
        other = self.cluster.n(2) / "e"

        def copied():
            # What is pulled while the home is still sealing the file is no verified copy.
            self.assertEqual((other / "copied").read_bytes(), b"also on n2" * 1000)
            return "n2" in self.cluster.stat(other / "copied")["copies"]
        wait_until(copied, timeout=20, what="the copy on n2")
        self.cluster.stop_node(1)
        with self.assertRaises(OSError) as caught:
            (other / "here").read_bytes()
        self.assertEqual(caught.exception.errno, errno.EIO)
        self.assertEqual(self.cluster.stat(other / "here")["state"], "unavailable")
        self.assertEqual((other / "copied").read_bytes(), b"also on n2" * 1000)
        self.cluster.start_node(1)
        self.assertEqual((other / "here").read_bytes(), b"home on n1" * 1000)
        self.assertEqual((place / "here").read_bytes(), b"home on n1" * 1000)

    def test_ephemeral_files_are_lost_with_their_tier(self):
        place = make_ephemeral_dir(self.cluster.n(1) / "e")
        (place / "a").write_bytes(b"x" * 10_000)
        self.cluster.stop_node(1)
        for entry in self.cluster.tier(1).iterdir():
            if entry.name != "memory":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.cluster.start_node(1)
        other = self.cluster.n(2) / "e" / "a"
        with self.assertRaises(OSError) as caught:
            other.read_bytes()
        self.assertEqual(caught.exception.errno, errno.EIO)
        self.assertEqual(self.cluster.stat(other)["state"], "lost")
        other.write_bytes(b"again")
        self.assertEqual((place / "a").read_bytes(), b"again")
        other.unlink()
        with contextlib.suppress(FileNotFoundError):
            self.fail(f"still there: {(place / 'a').stat()}")

    def test_a_cut_link_does_no_harm(self):
        seconds = 30 if FULL else 5
        directory = self.cluster.n(2) / "w"
        directory.mkdir()
        worker = Worker(directory, self.scratch / "journal", self.seed)
        try:
            self.let_them_write([worker])
            self.cluster.link(2, up=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=seconds)
            self.cluster.link(2, up=True)
            self.cluster.wait_healthy(timeout=90)
            before = self.accepted(worker)
            wait_until(lambda: self.accepted(worker) > before, timeout=90,
                       what="a file that is accepted after the cut")
        finally:
            worker.stop()
        self.check(worker, 1, 0)
        self.check(worker, 2, 0)


if __name__ == "__main__":
    unittest.main()
