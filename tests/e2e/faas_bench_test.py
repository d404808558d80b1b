"""`f3 bench faas` and `f3 bench locality` run and give sane figures. Not a benchmark: sizes are small."""

import contextlib
import pathlib
import unittest

from gateway_test import rootfs
from harness import Cluster, wait_until


class Bench(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.rootfs = rootfs()
        cls.cluster = Cluster(nodes=3, memory="64M")
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def measure(self, name, *args):
        report = self.cluster.json("bench", name, "--rootfs", self.rootfs, *args, timeout=400)
        self.assertEqual(report["bench"], name)
        self.assertGreater(len(report["results"]), 0)
        for result in report["results"]:
            self.assertGreater(result["f3_median"], 0, result)
            self.assertGreater(result["other_median"], 0, result)
            self.assertGreater(result["ratio"], 0, result)
        self.assert_nothing_left()
        return report

    def assert_nothing_left(self):
        """Neither directories nor files nor containers of the run, nor what the agents knew of them."""
        self.assertEqual(list(self.cluster.dir.glob("f3-bench-*")), [])
        self.assertEqual(list((self.cluster.n(1) / "openwhisk").glob("f3-bench-*")), [])
        # A process that was killed is there until its parent, which may be init, has heard of it.
        wait_until(lambda: not self.processes_left(), what="the end of every process")
        for i in range(1, 4):
            attached = self.cluster.dir / "state" / f"n{i}" / "sandboxes"
            self.assertEqual([d for d in attached.iterdir() if (d / "attached.json").exists()], [])

    @staticmethod
    def processes_left():
        left = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cgroup"):
            with contextlib.suppress(OSError):  # ended meanwhile
                if "f3-bench-" in entry.read_text():
                    left.append(entry)
        return left

    def test_faas(self):
        report = self.measure("faas", "--bytes", "1M", "--runs", 2, "--warmup", 1)
        extra = report["extra"]
        ways = {"inline", "durable file", "ephemeral file", "reference"}
        self.assertEqual(set(extra["chains"]), {"1 KB, same node", "1 KB, other node",
                                                "1 MB, same node", "1 MB, other node"})
        for chain in extra["chains"].values():
            self.assertEqual(set(chain), ways)
            for figures in chain.values():
                self.assertEqual((figures["runs"], figures["warmup"]), (2, 1))
                self.assertGreaterEqual(figures["p99_ms"], figures["p50_ms"])
                self.assertGreaterEqual(figures["tail_to_median"], 1)
        self.assertEqual(set(extra["starts"]), {"without F3", "F3, no mount", "F3, one mount"})
        for parts in extra["starts"].values():
            self.assertEqual(parts["cold"]["runs"], 2)
            self.assertGreater(parts["warm"]["runs"], 2)
            self.assertGreater(parts["create"]["p50_ms"], 0)
        self.assertNotIn("update", extra["starts"]["without F3"])
        self.assertIn("attach before", extra["starts"]["F3, one mount"])
        self.assertEqual(set(extra["wrapper"]), {"runc run", "f3-runc run", "runc --version",
                                                 "f3-runc --version"})
        self.assertEqual(set(extra["added"]), {r["what"] for r in report["results"]
                                               if not r["what"].startswith("chain")})

    def test_locality(self):
        report = self.measure("locality", "--bytes", "6M", "--runs", 1)
        policies = report["extra"]["policies"]
        self.assertEqual(set(policies), {"locate", "random", "hash"})
        self.assertEqual(policies["locate"]["moved_mb"], [0])
        skew = report["extra"]["skew"]
        for chosen in skew["f3_locality"]["require"]:
            self.assertEqual((chosen["node"], chosen["hit"]), (skew["data_node"], True))
        for chosen in skew["f3_locality"]["prefer"]:
            self.assertNotEqual(chosen["node"], skew["data_node"])
            self.assertEqual((chosen["hit"], chosen["pulled"]), (False, skew["bytes"]))

    def test_says_what_is_missing(self):
        done = self.cluster.f3("bench", "faas", "--rootfs", "/var/tmp/there-is-none", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("scripts/make_rootfs.sh", done.stderr)


if __name__ == "__main__":
    unittest.main()
