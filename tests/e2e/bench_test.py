"""The workloads of `f3 bench` run and give sane figures. Not a benchmark: sizes are small."""

import json
import pathlib
import tempfile
import unittest

from harness import Cluster, binary, run


class Bench(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=2, memory="64M")
        cls.cluster.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def measure(self, name, *args):
        report = self.cluster.json("bench", name, "--runs", 1, *args, timeout=120)
        self.assertEqual(report["bench"], name)
        for result in report["results"]:
            self.assertGreater(result["f3_median"], 0, result)
            self.assertGreater(result["other_median"], 0, result)
            self.assertGreater(result["ratio"], 0, result)
        return report

    def test_seq(self):
        self.assertEqual(len(self.measure("seq", "--bytes", "16M")["results"]), 3)

    def test_rand(self):
        self.assertEqual(len(self.measure("rand", "--bytes", "16M")["results"]), 2)

    def test_meta_counts_upcalls(self):
        report = self.measure("meta")
        self.assertEqual([r["what"].split()[0] for r in report["results"]],
                         ["create", "stat", "readdir,", "unlink"])
        calls = report["extra"]["upcalls_per_operation"]
        self.assertTrue(calls["create + write 4 KiB + close"])
        # A directory that is listed again comes from the kernel's pages.
        self.assertTrue(all(count < 1 for count in calls.get("readdir, per entry", {}).values()))

    def test_pull(self):
        self.measure("pull", "--bytes", "16M")

    def test_follow(self):
        self.measure("follow", "--bytes", "32M")

    def test_xdt(self):
        report = self.measure("xdt", "--bytes", "2M")
        # Redis by three ways; libfabric; iperf3; three calls, one hand-over.
        self.assertEqual(len(report["results"]), 3 * 4 + 4 + 1 + 3 + 1)
        for result in report["results"]:
            if result["unit"] == "us":
                self.assertGreaterEqual(result["f3_p99"], result["f3_median"])
                self.assertGreater(result["f3_gb_per_s"], 0)
        text = self.cluster.f3("bench", "xdt", "--runs", 1, "--bytes", "1M").stdout
        for word in ("p99", "GB/s", "libfabric", "iperf3", "handed over"):
            self.assertIn(word, text)

    def test_patterns(self):
        report = self.measure("patterns", "--bytes", "1M")
        self.assertEqual([r["what"].split(",")[0] for r in report["results"]],
                         [f"{pattern} {count}"
                          for pattern in ("scatter to", "gather of", "broadcast to")
                          for count in (1, 2, 4, 8, 16, 32)])

    def test_tables_for_people(self):
        text = self.cluster.f3("bench", "seq", "--runs", 1, "--bytes", "8M").stdout
        self.assertIn("1 MiB sequential read", text)


class Hwalloc(unittest.TestCase):
    """Needs no cluster."""

    def test_workloads_and_functions(self):
        if not (binary().parent.parent / "lib/libhwalloc.so").exists():
            self.skipTest("this build has no libhwalloc.so: a sanitizer replaces malloc itself")
        scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        functions = scratch / "functions.txt"
        functions.write_text("# A comment.\n\nsum python /usr/bin/python3 -c print(sum(range(1000)))\n"
                             "none c++ @bin/there-is-no-such-program\n")
        done = run(binary(), "bench", "hwalloc", "--runs", 1, "--functions", functions, "--json",
                   timeout=300)
        report = json.loads(done.stdout)
        for result in report["results"]:
            self.assertGreater(result["ratio"], 0, result)
        programs = report["extra"]["programs"]
        self.assertIn("larson", programs)
        self.assertGreater(programs["sum"]["allocations_per_second"], 0)
        self.assertGreater(programs["sum"]["hwalloc"]["megabytes"][0], 1)
        self.assertTrue(any("there-is-no-such-program" in m for m in report["extra"]["missing"]))


if __name__ == "__main__":
    unittest.main()
