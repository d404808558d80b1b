"""Whole programs under libhwalloc.so: python's own tests, node, gcc, sqlite3, ffmpeg, redis, git.

Each runs in the ordinary and in the debug level. That the library was really in use is proved by the
line that it writes when a process ends, which counts what was allocated, or by the server's maps.
HWALLOC_LIB names the library, HWALLOC_ENTRY_POINTS the program that calls each entry point.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = SOURCE / "build/release"
LIBRARY = os.environ.get("HWALLOC_LIB", str(BUILD / "lib/libhwalloc.so"))
ENTRY_POINTS = os.environ.get("HWALLOC_ENTRY_POINTS", str(BUILD / "bin/hwalloc_entry_points"))
FULL = bool(os.environ.get("F3_FULL"))
LIMIT = 800  # seconds for one program
PYTHON = "/usr/bin/python3"

NODE_SCRIPT = """
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
if (isMainThread) {
  let left = 4, sum = 0;
  for (let i = 0; i < 4; ++i) {
    const worker = new Worker(__filename, { workerData: i });
    worker.on('message', (buffer) => { sum += new Uint8Array(buffer).reduce((a, b) => a + b, 0); });
    worker.on('exit', (code) => {
      if (code !== 0) process.exit(1);
      if (--left === 0) console.log(sum);
    });
  }
} else {
  for (let round = 0; round < 20; ++round) {
    const text = JSON.stringify(Array.from({ length: 2000 }, (_, i) => ({ i, s: 'x'.repeat(i % 50) })));
    const copy = Buffer.from(JSON.stringify(JSON.parse(text)));
    if (copy.length !== text.length) throw new Error('lost');
    const bytes = new Uint8Array(1000).fill(workerData + 1);
    parentPort.postMessage(bytes.buffer, [bytes.buffer]);
  }
}
"""

SQL = """
PRAGMA journal_mode=MEMORY;
CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT, n REAL);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 50000)
  INSERT INTO t SELECT x, printf('word%d', x % 977), x * 1.5 FROM c;
CREATE INDEX by_word ON t (word, n);
SELECT word, count(*), sum(n) FROM t GROUP BY word ORDER BY 3 DESC, 1 LIMIT 3;
DELETE FROM t WHERE id % 3 = 0;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), group_concat(word) IS NOT NULL FROM t;
"""


def needs(*programs):
    """Skips a test where a program cannot be had."""
    missing = [p for p in programs if shutil.which(p) is None]
    return unittest.skipIf(missing, f"not installed: {', '.join(missing)}")


def has_python_tests():
    return subprocess.run([PYTHON, "-c", "import test.test_json, test.test_re"],
                          stderr=subprocess.DEVNULL).returncode == 0


class Programs(unittest.TestCase):
    DEBUG = "0"

    def setUp(self):
        self.assertTrue(pathlib.Path(LIBRARY).exists(), f"no {LIBRARY}")
        self.scratch = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.statistics = self.scratch / "statistics"

    def environment(self, **extra):
        return {**os.environ, "LD_PRELOAD": LIBRARY, "HWALLOC_DEBUG": self.DEBUG,
                "HWALLOC_STATS": str(self.statistics), **extra}

    def run_plain(self, *argv, **kwargs):
        result = subprocess.run([str(a) for a in argv], capture_output=True, text=True,
                                timeout=LIMIT, cwd=self.scratch, stdin=subprocess.DEVNULL, **kwargs)
        self.assertEqual(result.returncode, 0,
                         f"{argv}: {result.stdout[-3000:]}\n{result.stderr[-3000:]}")
        return result.stdout

    def run_with(self, *argv, **extra):
        """Runs a program with the library and checks that the library served it."""
        output = self.run_plain(*argv, env=self.environment(**extra))
        self.check_in_use()
        return output

    def check_in_use(self):
        lines = self.statistics.read_text().splitlines()
        count = "allocations" if self.DEBUG == "1" else "words"
        counts = [int(re.search(f" {count}=([0-9]+)", line).group(1)) for line in lines]
        self.assertGreater(max(counts), 0, lines)
        for line in lines:
            self.assertIn(f"debug={self.DEBUG}", line)

    def test_every_entry_point(self):
        self.assertIn("behave", self.run_with(ENTRY_POINTS))
        self.run_with(ENTRY_POINTS, HWALLOC_POOL_THREAD="1")

    def test_loaded_and_unloaded_at_run_time(self):
        script = ("import ctypes, _ctypes, sys\n"
                  "for i in range(3):\n"
                  "    lib = ctypes.CDLL(sys.argv[1])\n"
                  "    begin = lib.hwalloc_scope_begin\n"
                  "    begin.restype = ctypes.c_void_p\n"
                  "    alloc = lib.hwalloc_scope_alloc\n"
                  "    alloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]\n"
                  "    alloc.restype = ctypes.c_void_p\n"
                  "    scope = begin()\n"
                  "    for size in range(1000):\n"
                  "        ctypes.memset(alloc(scope, size), 1, size)\n"
                  "    end = lib.hwalloc_scope_end\n"
                  "    end.argtypes = [ctypes.c_void_p]\n"
                  "    end(scope)\n"
                  "    _ctypes.dlclose(lib._handle)\n"
                  "print('done')\n")
        self.assertIn("done", self.run_plain(PYTHON, "-c", script, LIBRARY))

    @unittest.skipUnless(has_python_tests(), "not installed: libpython3.11-testsuite")
    def test_python(self):
        modules = ["test_json", "test_re", "test_pickle", "test_threading", "test_subprocess"]
        if not FULL and self.DEBUG == "1":
            modules = modules[:2] + ["test_threading"]
        # Without this python keeps small objects in an allocator of its own.
        self.run_with(PYTHON, "-m", "test", "-W", "--timeout", str(LIMIT // 2), *modules,
                      PYTHONMALLOC="malloc")

    @needs("node")
    def test_node_with_workers(self):
        script = self.scratch / "workers.js"
        script.write_text(NODE_SCRIPT)
        self.assertEqual(self.run_with("node", script).strip(), str(20 * 1000 * (1 + 2 + 3 + 4)))

    @needs("gcc")
    def test_gcc(self):
        source = self.scratch / "a.c"
        source.write_text("#include <stdio.h>\n#include <math.h>\n#include <stdlib.h>\n" + "".join(
            f"double f{i}(double x) {{ return x * {i} + sqrt(x + {i}); }}\n" for i in range(400)) +
            'int main(void) { printf("%.3f\\n", f7(2)); return 0; }\n')
        self.run_with("gcc", "-O2", "-g", "-o", self.scratch / "a", source, "-lm")
        self.assertEqual(self.run_with(self.scratch / "a").strip(), "17.000")

    @needs("sqlite3")
    def test_sqlite(self):
        script = self.scratch / "script.sql"
        script.write_text(SQL)
        command = ["sqlite3", self.scratch / "with.db", f".read {script}"]
        output = self.run_with(*command)
        self.assertIn("\nok\n", output)
        command[1] = self.scratch / "without.db"
        self.assertEqual(output, self.run_plain(*command))

    @needs("ffmpeg")
    def test_ffmpeg(self):
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                   "testsrc=duration=2:size=320x240:rate=25", "-c:v", "mpeg4", "-threads", "4",
                   "-bitexact", "-f", "framemd5", "-"]
        self.assertEqual(self.run_with(*command), self.run_plain(*command))

    @needs("git")
    def test_git_gc(self):
        repository = self.scratch / "repository"
        git = ["git", "-C", repository, "-c", "user.name=t", "-c", "user.email=t@t"]
        self.run_with("git", "init", "-q", repository)
        for i in range(8):
            for j in range(40):
                (repository / f"file{j}").write_text("".join(f"{i * j + k}\n" for k in range(300)))
            self.run_with(*git, "add", "-A")
            self.run_with(*git, "commit", "-qm", f"change {i}")
        self.run_with(*git, "gc", "-q", "--aggressive", "--prune=now")
        self.run_with(*git, "fsck", "--strict")
        self.assertEqual(len(self.run_with(*git, "log", "--oneline").splitlines()), 8)

    @needs("redis-server", "redis-benchmark", "redis-cli")
    def test_redis(self):
        path = self.scratch / "redis.sock"
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir",
             self.scratch, "--io-threads", "2"], env=self.environment(), stdout=subprocess.DEVNULL)
        try:
            self.wait_for(path, server)
            maps = pathlib.Path(f"/proc/{server.pid}/maps").read_text()
            self.assertIn("libhwalloc.so", maps)
            self.run_plain("redis-benchmark", "-s", path, "-q", "-n", "20000" if FULL else "2000",
                           "-c", "10", "-d", "400", "-r", "5000", "-t",
                           "set,get,incr,lpush,rpop,sadd,hset,zadd,mset")
            self.run_plain("redis-cli", "-s", path, "bgsave")
            memory = self.run_plain("redis-cli", "-s", path, "info", "memory")
            self.assertGreater(int(re.search("used_memory:([0-9]+)", memory).group(1)), 100_000)
            server.send_signal(signal.SIGTERM)
            self.assertEqual(server.wait(timeout=60), 0)
        finally:
            server.kill()
            server.wait()
        self.check_in_use()

    def wait_for(self, path, server):
        """Until the server accepts connections."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.assertIsNone(server.poll(), "redis-server ended")
            with socket.socket(socket.AF_UNIX) as connection:
                if connection.connect_ex(str(path)) == 0:
                    return
            time.sleep(0.02)
        self.fail("redis-server does not listen")


class DebugPrograms(Programs):
    DEBUG = "1"


if __name__ == "__main__":
    unittest.main()
