"""The packaged OpenWhisk jar against a real agent: sandboxes of runc, hints that are refused, placement."""

import os
import pathlib
import select
import subprocess
import unittest

from attach_harness import Lab, RuncContainer, fuse_mounts_in
from harness import ROOT, Cluster, wait_until

BUILT = ROOT / "build" / "spi" / "plugin"
MOUNTED = '{"f3-mounts":[{}]}'


class Invoker:
    """An OpenWhisk invoker and controller, as far as the jar sees them: RealAgent.java."""

    def __init__(self, agent_socket):
        provided = (BUILT / "provided.classpath").read_text().strip()
        path = f"{BUILT / 'f3-openwhisk.jar'}:{BUILT / 'test-classes'}:{provided}"
        self._java = subprocess.Popen(
            ["java", "-cp", path, "f3.openwhisk.RealAgent"], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env=dict(os.environ, F3_AGENT_SOCKET=str(agent_socket)))

    def __call__(self, *words):
        """Sends a command; its answer."""
        self._java.stdin.write(" ".join(words) + "\n")
        self._java.stdin.flush()
        ready, _, _ = select.select([self._java.stdout], [], [], 120)
        assert ready, f"no answer to {words}"
        answer = self._java.stdout.readline()
        assert answer, f"it ended at {words}"
        return answer.strip()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._java.stdin.close()
        try:
            self._java.wait(30)
        except subprocess.TimeoutExpired:
            self._java.kill()
            self._java.wait(30)
        self._java.stdout.close()


class SpiJar(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.c = cls.enterClassContext(Cluster(nodes=1))
        cls.lab = cls.enterClassContext(Lab())
        state = cls.c.dir / "state" / "n1"
        cls.sandboxes = state / "sandboxes"
        cls.invoker = cls.enterClassContext(Invoker(cls.socket()))

    @classmethod
    def socket(cls):
        """Where the node's agent listens: its own configuration says."""
        config = next(pathlib.Path(cls.c.dir).rglob("n1.toml"))
        line = next(t for t in config.read_text().splitlines() if t.startswith("agent_socket"))
        return line.split('"')[1]

    def container(self):
        return self.enterContext(RuncContainer(self.lab, sandboxes=self.sandboxes))

    def data(self, namespace, *names):
        return self.c.n(1).joinpath("openwhisk", namespace, *names)

    def test_life_of_a_sandbox(self):
        box = self.container()
        self.assertEqual(self.invoker("initialize", box.id, "alice/hello", MOUNTED), "ok")
        self.assertEqual(fuse_mounts_in(box.pid()), ["/mnt/f3"])
        box.sh("echo said > /mnt/f3/x")
        self.assertEqual(self.data("alice", "x").read_text(), "said\n")
        self.assertTrue(self.invoker("run", "a1", "t1", "{}").startswith("0 "))
        box.pause()
        box.resume()
        self.assertTrue(self.invoker("run", "a2", "t2", '{"__f3":{"inputs":["x"]}}').startswith("0 "))
        self.assertEqual(self.invoker("destroy"), "ok")
        wait_until(lambda: not fuse_mounts_in(box.pid()), what="the end of its mount")

    def test_hints_are_refused_with_the_agents_message(self):
        box = self.container()
        answer = self.invoker("initialize", box.id, "bob/hello",
                              '{"f3-mounts":[{}],"f3-hints":{"locality":"near"}}')
        self.assertTrue(answer.startswith("2 "), answer)
        self.assertIn("locality", answer)
        self.assertEqual(fuse_mounts_in(box.pid()), [])
        self.assertEqual(self.invoker("destroy"), "ok")

    def test_volume_of_another_namespace_is_refused(self):
        box = self.container()
        answer = self.invoker("initialize", box.id, "carol/hello", '{"f3-mounts":[{"volume":"dave"}]}')
        self.assertTrue(answer.startswith("2 "), answer)
        self.assertEqual(self.invoker("destroy"), "ok")

    def test_container_of_another_node_is_refused(self):
        answer = self.invoker("initialize", "f3t-elsewhere", "heidi/hello", MOUNTED)
        self.assertTrue(answer.startswith("3 "), answer)
        self.assertIn("f3t-elsewhere", answer)
        self.assertEqual(self.invoker("initialize", "f3t-elsewhere", "heidi/plain", "{}"), "ok")
        self.assertEqual(self.invoker("destroy"), "ok")

    def test_calls_own_hints_are_refused_before_the_run(self):
        box = self.container()
        self.assertEqual(self.invoker("initialize", box.id, "erin/hello", MOUNTED), "ok")
        answer = self.invoker("run", "a1", "t1", '{"__f3":{"ttl":0}}')
        self.assertTrue(answer.startswith("2 "), answer)
        self.assertEqual(self.invoker("destroy"), "ok")

    def test_workflows_have_directories_of_their_own(self):
        box = self.container()
        annotations = '{"f3-mounts":[{"lifetime":"workflow"}]}'
        self.assertEqual(self.invoker("initialize", box.id, "frank/step", annotations), "ok")
        self.assertTrue(self.invoker("run", "a1", "t1", "{}").startswith("0 "))
        box.sh("echo one > /mnt/f3/x")
        self.assertTrue(self.invoker("run", "a2", "t2", "{}").startswith("0 "))
        self.assertEqual(box.sh("ls /mnt/f3"), "")
        self.assertTrue(self.invoker("run", "a3", "t1", "{}").startswith("0 "))
        self.assertEqual(box.sh("cat /mnt/f3/x"), "one\n")
        self.assertEqual(self.invoker("destroy"), "ok")

    def test_activation_goes_to_the_node_of_its_input(self):
        self.data("grace", "in").mkdir(parents=True)
        self.data("grace", "in", "a").write_bytes(b"x" * 100_000)
        hinted = '{"f3-mounts":[{}],"f3-hints":{"inputs":["in/*"]}}'
        self.assertEqual(self.invoker("publish", "grace/read", hinted, "{}"), "invoker1")
        named = '{"file":"/mnt/f3/in/a"}'
        self.assertEqual(self.invoker("publish", "grace/read", MOUNTED, named), "invoker1")
        absent = '{"file":"/mnt/f3/in/b"}'
        self.assertEqual(self.invoker("publish", "grace/read", MOUNTED, absent), "invoker0")
        off = '{"file":"/mnt/f3/in/a","__f3":{"locality":"off"}}'
        self.assertEqual(self.invoker("publish", "grace/read", MOUNTED, off), "invoker0")


if __name__ == "__main__":
    unittest.main()
