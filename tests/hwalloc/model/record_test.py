"""Records real programs in the emulator and models them, with the f3 binary."""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

from harness import binary  # noqa: E402

PYTHON = "/usr/bin/python3"


def f3(*argv, check=True):
    done = subprocess.run([str(binary()), "hwalloc", *map(str, argv)], text=True,
                          capture_output=True, timeout=600)
    if check and done.returncode != 0:
        raise AssertionError(f"f3 hwalloc {argv}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@unittest.skipUnless(shutil.which("qemu-x86_64"), "qemu-user is not installed")
class Record(unittest.TestCase):

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="f3-hwalloc-"))
        self.trace = self.dir / "t.trace"
        self.addCleanup(shutil.rmtree, self.dir)

    def record(self, *command, **kwargs):
        return f3("record", "-o", self.trace, "--", *command, **kwargs)

    def model(self):
        return json.loads(f3("model", "--json", self.trace).stdout)[0]

    def test_python_allocates_what_the_script_says(self):
        # 20,000 objects of one size that all live to the end, and as many that die at once.
        def script(objects):
            return (f"keep = [float(i) for i in range({objects})]\n"
                    f"for i in range({objects}): bytes(150)\n")
        counts = []
        for objects in (0, 20000):
            self.record(PYTHON, "-S", "-E", "-c", script(objects))
            counts.append(self.model())
        before, after = counts
        more = {k: after["program"][k] - before["program"][k]
                for k in ("allocations", "frees", "instructions")}
        # Each loop also makes an int of 28 bytes for each number above 256.
        ints = 2 * (20000 - 257)
        self.assertAlmostEqual(more["allocations"], 40000 + ints, delta=1000)
        # Each bytes(150) is an object of 183 bytes: the group of at most 256.
        sizes = [a - b for a, b in zip(after["program"]["by_size"], before["program"]["by_size"])]
        self.assertAlmostEqual(sizes[4], 20000, delta=500)
        self.assertAlmostEqual(sizes[1], 20000 + ints, delta=1000)  # floats of 24 bytes, and ints
        self.assertGreater(more["instructions"], 40000 * 20)
        self.assertEqual(after["program"]["threads"], 1)
        self.assertFalse(after["program"]["references_cut"])
        self.assertGreater(after["ratios"]["alloc_hit_rate"], 0.99)
        self.assertGreater(after["ratios"]["speedup"], 0)
        self.assertEqual(after["command"][0], PYTHON)
        # 20,000 floats of 24 bytes: about 117 pages more, with and without the hardware.
        for machine in ("software", "hardware"):
            pages = after[machine]["peak_pages"] - before[machine]["peak_pages"]
            self.assertGreater(pages, 110)
            self.assertLess(pages, 260)

    def test_shares_add_up(self):
        self.record("ls", "-l", "/usr/lib")
        model = self.model()
        self.assertAlmostEqual(sum(model["shares_of_saved_cycles"].values()), 1, places=6)
        for machine in ("software", "hardware", "hardware_without_bypass"):
            cycles = model[machine]["emulated_cycles"]
            parts = sum(v for k, v in cycles.items() if k != "total")
            self.assertAlmostEqual(parts, cycles["total"], delta=1)
        self.assertEqual(model["software"]["emulated_cycles"]["program"],
                         model["hardware"]["emulated_cycles"]["program"])

    def test_threads_and_forks(self):
        script = ("import os, threading\n"
                  "t = [threading.Thread(target=lambda: [str(i) for i in range(3000)])"
                  " for _ in range(3)]\n"
                  "[x.start() for x in t]; [x.join() for x in t]\n"
                  "pid = os.fork()\n"
                  "if pid == 0: os._exit(0)\n"
                  "os.waitpid(pid, 0)\n")
        self.record(PYTHON, "-c", script)
        self.assertGreaterEqual(self.model()["program"]["threads"], 4)

    def test_the_limit_cuts_references_only(self):
        done = f3("record", "--limit", "1000", "-o", self.trace, "--", "ls", "/")
        self.assertIn("--limit cut", done.stderr)
        model = self.model()
        self.assertEqual(model["program"]["references"], 1000)
        self.assertTrue(model["program"]["references_cut"])
        self.assertGreater(model["program"]["allocations"], 5)

    def test_failures_are_told(self):
        done = self.record(PYTHON, "-c", "raise SystemExit(3)", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("exited with 3", done.stderr)
        self.assertGreater(self.model()["program"]["allocations"], 1000)  # its trace is whole
        self.trace.unlink()
        done = self.record(PYTHON, "-c", "import os; os.kill(os.getpid(), 9)", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("signal 9", done.stderr)
        done = self.record(PYTHON, "-c", "import os; os.execv('/bin/true', ['true'])", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(list(self.dir.iterdir()), [])
        done = self.record("/etc/hostname", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(f3("model", "/etc/hostname", check=False).returncode, 1)

    def test_table_of_a_set(self):
        (self.dir / "set.txt").write_text(f"start python {PYTHON} -S -c pass\nlist c++ /bin/ls\n")
        argv = ("table", "--set", self.dir / "set.txt", "--traces", self.dir / "traces")
        text = f3(*argv).stdout
        for word in ("start", "list", "mean", "paper", "speed-up"):
            self.assertIn(word, text)
        self.assertEqual(sorted(p.name for p in (self.dir / "traces").iterdir()),
                         ["list.trace", "start.trace"])
        table = json.loads(f3(*argv, "--json", "--only", "list").stdout)
        self.assertEqual([f["name"] for f in table["functions"]], ["list"])
        self.assertEqual(table["paper"]["speedup"], 0.16)
        self.assertEqual(table["mean"]["speedup"], table["functions"][0]["ratios"]["speedup"])
        self.assertEqual(f3(*argv, "--only", "none", check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
