"""XDT on a cluster: commands, the Python package, examples between nodes, and everything killed."""

import collections
import os
import pathlib
import re
import signal
import sys
import tempfile
import unittest

from harness import ROOT, binary, run
from xdt_harness import Function, XdtTest, environment, socket, used

MIB = 1 << 20
EXAMPLES = ROOT / "xdt" / "examples"
# Texts of the package base-files.
CORPUS = sorted(pathlib.Path("/usr/share/common-licenses").glob("*[0-9]"))


class Commands(XdtTest):

    def test_put_and_get(self):
        value = os.urandom(3 * MIB)
        with tempfile.TemporaryDirectory() as directory:
            source, target = pathlib.Path(directory, "in"), pathlib.Path(directory, "out")
            source.write_bytes(value)
            reference = self.c.f3("put", source, "--times", "2").stdout.strip()
            self.c.f3("get", reference, "--node", "n3", "-o", target)
            self.assertEqual(target.read_bytes(), value)
            target.unlink()
            self.c.f3("get", reference, "-o", target)
            self.assertEqual(target.read_bytes(), value)
            target.unlink()
            done = self.c.f3("get", reference, "-o", target, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("no retrievals left", done.stderr)
            self.assertFalse(target.exists())

    def test_put_of_a_pipe_and_refusals(self):
        reference = self.c.f3("put", "-", "--ttl", "1h", input="through a pipe").stdout.strip()
        self.assertEqual(self.c.f3("get", reference, "--node", "n2").stdout, "through a pipe")
        self.assertEqual(self.c.f3("put", "/nonexistent", check=False).returncode, 1)
        self.assertIn("not a reference", self.c.f3("get", "x", check=False).stderr)
        done = self.c.f3("get", reference, "--socket", "/nonexistent", check=False)
        self.assertIn("is the node agent running?", done.stderr)
        done = self.c.f3("ref", "/etc/passwd", check=False)
        self.assertIn("in no F3 mount", done.stderr)

    def test_status_shows_what_values_take(self):
        (function,) = [self.enterContext(Function(self.c, 2))]
        before = used(self.c, 2)
        function.do("held = f3.put(bytes(5 << 20))")
        self.assertGreaterEqual(used(self.c, 2), before + 5 * MIB)
        function.do("f3.delete(held)")
        self.await_given_back((2,))


class Python(XdtTest):

    def test_the_package(self):
        (f,) = [self.enterContext(Function(self.c, 1))]
        self.assertEqual(f.do("bytes(f3.get(f3.put(b'bytes')).data)"), b"bytes")
        self.assertEqual(f.do("bytes(f3.get(f3.put(bytearray(b'array'))))"), b"array")
        self.assertEqual(f.do("bytes(f3.get(f3.put(b'')))"), b"")
        self.assertEqual(f.do("len(f3.get(f3.put(memoryview(bytes(100000))[10:])))"), 99990)
        f.do("buffer = f3.alloc(100000); buffer.data[:5] = b'hello'; part = buffer.data[1:3]")
        self.assertTrue(f.do("part[:1] == b'e'"))
        f.do("try:\n    buffer.put()\nexcept BufferError:\n    refused = True")
        self.assertTrue(f.do("refused"))
        f.do("del part; reference = buffer.put(5)")
        self.assertEqual(f.do("bytes(f3.get(reference).data)"), b"hello")
        # A view's memory lives as long as anything made of it.
        f.do("data = f3.get(f3.put(b'z' * 100000)).data[10:20]")
        self.assertEqual(f.do("bytes(data)"), b"z" * 10)
        f.do("del data")
        f.do("many = [f3.put(bytes([i]) * 50000) for i in range(50)]")
        self.assertTrue(f.do("all(bytes(v.data) == bytes([i]) * 50000 for i, v in "
                             "enumerate(f3.get_many(many)))"))
        self.assertEqual(f.code("f3.get_many(many)"), 411)
        f.do("import select; wanted = f3.get_async(f3.put(b'async'))")
        self.assertEqual(f.do("bytes(wanted.result().data) if select.select([wanted], [], [], 5)[0]"
                              " else None"), b"async")
        self.await_given_back((1,))

    def test_a_stream_between_nodes(self):
        sender, receiver = [self.enterContext(Function(self.c, n)) for n in (1, 2)]
        reference, digest = sender.put_random(20 * MIB)
        receiver.do(f"view = f3.stream({reference!r}); h = hashlib.sha256()")
        receiver.do("for chunk in view.chunks():\n    h.update(chunk)")
        self.assertEqual(receiver.do("h.hexdigest()"), digest)

    def test_pip_installs_the_package_from_the_source_tree(self):
        with tempfile.TemporaryDirectory() as directory:
            target = pathlib.Path(directory)
            # A copy: setuptools writes beside what it builds.
            run("cp", "-r", ROOT / "xdt" / "python", ROOT / "xdt" / "libxdt", target)
            run("/usr/bin/python3", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                "--no-build-isolation", "--target", target / "site", target / "python",
                timeout=120, env=dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1"))
            env = environment(self.c, 1)
            env["PYTHONPATH"] = str(target / "site")
            del env["F3_LIBXDT"]
            done = run("/usr/bin/python3", "-B", "-c",
                       "import f3; print(bytes(f3.get(f3.put(b'installed')).data))", env=env)
            self.assertEqual(done.stdout.strip(), "b'installed'")


class Patterns(XdtTest):

    def test_word_count_on_three_nodes(self):
        self.assertGreater(len(CORPUS), 5)
        sys.path.insert(0, str(EXAMPLES))
        expected = collections.Counter()
        for file in CORPUS:
            expected.update(re.findall(r"[a-z]+", file.read_text(errors="replace").lower()))
        sockets = ",".join(str(socket(self.c, i)) for i in (1, 2, 3))
        done = run(sys.executable, "-B", EXAMPLES / "wordcount.py", sockets, *CORPUS,
                   env=environment(self.c, 1), timeout=80)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual([int(count) for count, _ in lines],
                         [count for _, count in expected.most_common(10)])
        for count, word in lines:
            self.assertEqual(expected[word], int(count))
        pulled = [n["agent"]["xdt"]["pulls"] for n in self.c.status()["nodes"]]
        self.assertGreater(min(pulled), 0, "a node took no part")
        self.await_given_back((1, 2, 3))

    def test_patterns_in_cpp(self):
        example = binary().parent / "xdt_patterns"
        text = pathlib.Path("/usr/share/common-licenses/GPL-3").read_text()
        expected = sum("work" in line for line in text.splitlines())
        done = run(example, 7, "work", *[socket(self.c, i) for i in (1, 2, 3)], input=text,
                   env=environment(self.c, 1))
        self.assertEqual(int(done.stdout), expected)
        self.await_given_back((1, 2, 3))

    def test_a_broadcast_to_all_nodes(self):
        sender = self.enterContext(Function(self.c, 1))
        receivers = [self.enterContext(Function(self.c, n)) for n in (2, 3, 2, 3, 1)]
        reference, digest = sender.put_random(8 * MIB, retrievals=5)
        for receiver in receivers:
            receiver.start(f"hashlib.sha256(f3.get({reference!r}, 30).data).hexdigest()")
        self.assertEqual([r.result(60) for r in receivers], [digest] * 5)
        self.assertEqual(receivers[0].code(f"f3.get({reference!r})"), 411)


class Killed(XdtTest):
    """SIGKILL and SIGSTOP of each party: bytes or an error in time, and no memory left behind."""

    TIME_LIMIT = 240

    DEADLINE = 6

    def get_while(self, harm, sig, sender_node=1, receiver_node=2):
        """A receiver streams 96 MiB; harm(sender) happens meanwhile. Bytes or an error, in time."""
        sender = self.enterContext(Function(self.c, sender_node))
        receiver = self.enterContext(Function(self.c, receiver_node))
        reference, digest = sender.put_random(96 * MIB)
        receiver.do(f"view = f3.stream({reference!r}, {self.DEADLINE})")
        undo = harm(sender, sig)
        try:
            piece = (f"for chunk in view.chunks({self.DEADLINE}): h.update(chunk)")
            receiver.do("h = hashlib.sha256()")
            code = receiver.code(piece, timeout=120)
            if code is None:
                self.assertEqual(receiver.do("h.hexdigest()"), digest)
            else:
                self.assertIn(code, (103, 302, 401, 402, 413))
                self.assertLess(receiver.do("view.available"), 96 * MIB)
        finally:
            undo()
        receiver.kill()
        sender.kill()
        self.c.wait_healthy()
        self.delete(reference)

    def delete(self, reference):
        """What node 1 still has of a value: a get that was cut off has given its retrieval back."""
        function = self.enterContext(Function(self.c, 1))
        self.assertIn(function.code(f"f3.delete({reference!r})"), (None, 411, 413))
        function.kill()

    def harm_sender(self, sender, sig):
        os.kill(sender.pid, sig)
        return lambda: None

    def harm_agent(self, name):
        def harm(_, sig):
            pid = self.c.kill(name, sig, wait=False)
            return (lambda: os.kill(pid, signal.SIGCONT)) if sig == signal.SIGSTOP else (
                lambda: None)
        return harm

    def test_sender(self):
        for sig in (signal.SIGKILL, signal.SIGSTOP):
            self.get_while(self.harm_sender, sig)
        self.await_given_back((1, 2))

    def test_owner_is_stopped(self):
        self.get_while(self.harm_agent("n1"), signal.SIGSTOP)
        self.await_given_back((1, 2), timeout=60)

    def test_owner_is_killed(self):
        self.get_while(self.harm_agent("n1"), signal.SIGKILL)
        self.await_given_back((1, 2), timeout=60)

    def test_receivers_broker_is_killed(self):
        self.get_while(self.harm_agent("n2"), signal.SIGKILL)
        self.await_given_back((1, 2), timeout=60)

    def test_receivers_broker_is_stopped(self):
        self.get_while(self.harm_agent("n2"), signal.SIGSTOP)
        self.await_given_back((1, 2), timeout=60)

    def test_receiver_is_killed_and_stopped(self):
        sender = self.enterContext(Function(self.c, 1))
        for sig in (signal.SIGKILL, signal.SIGSTOP):
            receiver = self.enterContext(Function(self.c, 2))
            reference, _ = sender.put_random(96 * MIB)
            receiver.do(f"view = f3.stream({reference!r})")
            os.kill(receiver.pid, sig)
            # Others are not held up.
            other = self.enterContext(Function(self.c, 2))
            small, digest = sender.put_random(MIB)
            self.assertEqual(other.hash(small), digest)
            receiver.kill()
            self.delete(reference)
        self.await_given_back((1, 2))

    def test_a_sender_that_dies_in_mid_put(self):
        sender = self.enterContext(Function(self.c, 3))
        sender.do("held = [f3.alloc(20 << 20) for _ in range(3)]; held[0].data[:9] = b'some part'")
        self.assertGreaterEqual(used(self.c, 3), 60 * MIB)
        sender.kill()
        self.await_given_back((3,))


if __name__ == "__main__":
    unittest.main()
