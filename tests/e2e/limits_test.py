"""Memory stays within its bounds: an agent's, whatever is asked of it, and a sandbox's writer."""

import os
import subprocess
import sys
import unittest

from cgroups import MemoryCgroup
from harness import Cluster, get_xattr, make_ephemeral_dir, wait_until

FULL = bool(os.environ.get("F3_FULL"))
MIB = 1 << 20
FILE_BYTES = 1024 * MIB if FULL else 48 * MIB
READERS = WRITERS = 32 if FULL else 12
LIMIT = 1200 if FULL else 240  # seconds

COPY = """
import sys
source, target = open(sys.argv[1], "rb", buffering=0), open(sys.argv[2], "wb", buffering=0)
left = int(sys.argv[3])
while left:
    piece = source.read(min(left, 1 << 20))
    if not piece:
        sys.exit(f"{sys.argv[1]} ends early")
    left -= target.write(piece)
target.close()
"""


def start_copy(source, target, size, cgroup=None):
    preexec = (lambda: cgroup.add(os.getpid())) if cgroup else None
    return subprocess.Popen([sys.executable, "-c", COPY, str(source), str(target), str(size)],
                            preexec_fn=preexec)


class Limits(unittest.TestCase):
    def copy_all(self, processes):
        try:
            for process in processes:
                self.assertEqual(process.wait(timeout=LIMIT), 0)
        finally:
            for process in processes:
                process.kill()
                process.wait()

    def test_an_agent_keeps_to_its_budget(self):
        # The memory tier is a tmpfs whose pages would count too; files here go to the disk tier.
        with Cluster(memory="64M") as cluster:
            place = make_ephemeral_dir(cluster.n(1) / "e")
            self.copy_all([start_copy("/dev/zero", place / "read", FILE_BYTES)])
            agent = cluster.status()["nodes"][1]["agent"]
            budget = sum(line["granted_bytes"] for line in agent["memory"])
            self.assertGreater(budget, 0)
            with MemoryCgroup(budget + 64 * MIB) as cgroup:
                pid = cluster.pid("n2")
                cgroup.add(pid)
                there = cluster.n(2) / "e"
                self.copy_all(
                    [start_copy(there / "read", "/dev/null", FILE_BYTES) for _ in range(READERS)] +
                    [start_copy("/dev/zero", there / f"w{i}", FILE_BYTES)
                     for i in range(WRITERS)])
                self.assertEqual(cluster.pid("n2"), pid, "the agent was killed")
                for i in range(WRITERS):
                    self.assertEqual((cluster.n(3) / "e" / f"w{i}").stat().st_size, FILE_BYTES)
                cluster.stop_node(2)

    def test_a_small_sandbox_writes_much(self):
        size = FILE_BYTES if FULL else 256 * MIB
        with Cluster(memory="64M") as cluster, MemoryCgroup(128 * MIB) as cgroup:
            place = make_ephemeral_dir(cluster.n(1) / "e")
            self.copy_all([start_copy("/dev/zero", place / "a", size, cgroup)])
            self.assertEqual((cluster.n(2) / "e" / "a").stat().st_size, size)
            wait_until(lambda: get_xattr(place / "a", "state") == "sealed", timeout=20,
                       what="the end of writing")


if __name__ == "__main__":
    unittest.main()
