"""SEMANTICS.md, section 10: values of functions, passed by reference."""

import os
import signal
import time

from harness import ask
from xdt_harness import Function, XdtTest, used

MIB = 1 << 20
TIMEOUT, UNAVAILABLE, UNREACHABLE = 103, 302, 401
MALFORMED, NOT_AUTHENTIC, EXPIRED, EXHAUSTED, OUT_OF_SCOPE, EARLIER_EPOCH = range(408, 414)


class Values(XdtTest):

    TIME_LIMIT = 240

    def functions(self, *nodes):
        return [self.enterContext(Function(self.c, node)) for node in nodes]

    def control(self, node, **request):
        """One request to a node agent's control socket."""
        return ask(self.c.dir / "run" / f"n{node}.sock", **request)

    def sandbox(self, node, name_space, action=""):
        """A function of its own sandbox."""
        path = self.c.dir / "run" / f"s{node}{name_space[0]}{action}.sock"
        reply = self.control(node, op="xdt_open", path=str(path), namespace=name_space,
                             action=action)
        self.assertNotIn("error", reply)
        self.addCleanup(self.control, node, op="xdt_close", path=str(path))
        return self.enterContext(Function(self.c, node, path))

    def test_10_1_a_reference_gives_the_bytes_on_every_node(self):
        sender, here, there = self.functions(1, 1, 2)
        for size in (0, 1, 1000, 16 * 1024 + 1, MIB, 9 * MIB + 5):
            reference, digest = sender.put_random(size, seed=size, retrievals=2)
            self.assertLessEqual(len(reference), 256)
            self.assertEqual(here.hash(reference), digest)
            self.assertEqual(there.hash(reference), digest)

    def test_10_2_what_was_put_cannot_be_altered(self):
        sender, receiver = self.functions(1, 1)
        # The sender keeps a second mapping through a child, and the receiver a descriptor.
        sender.do("buffer = f3.alloc(1 << 20); buffer.data[:] = b'x' * (1 << 20)")
        sender.do("read, write = os.pipe()\n"
                  "child = os.fork()\n"
                  "if child == 0:\n"
                  "    os.read(read, 1)\n"
                  "    buffer.data[:] = b'y' * (1 << 20)\n"
                  "    os._exit(0)\n")
        reference = sender.do("buffer.put(retrievals=2)")
        sender.do("os.write(write, b'g'); os.waitpid(child, 0)")
        receiver.do(f"view = f3.get({reference!r})")
        self.assertTrue(receiver.do("view.data.readonly and bytes(view.data) == b'x' * (1 << 20)"))
        self.assertEqual(self.functions(2)[0].do(f"bytes(f3.get({reference!r}).data[:3])"), b"xxx")

    def test_10_3_a_value_outlives_the_function_that_put_it(self):
        for sig in (signal.SIGKILL, signal.SIGSTOP):
            sender, here, there = self.functions(1, 1, 2)
            reference, digest = sender.put_random(3 * MIB, retrievals=2)
            os.kill(sender.pid, sig)
            self.assertEqual(here.hash(reference), digest)
            self.assertEqual(there.hash(reference), digest)

    def test_10_4_no_more_retrievals_than_allowed(self):
        sender, here, there = self.functions(1, 1, 3)
        for size in (10, 3 * MIB):
            reference, digest = sender.put_random(size, retrievals=3)
            for receiver in (here, there, here):
                self.assertEqual(receiver.hash(reference), digest)
            for receiver in (here, there, sender):
                self.assertEqual(receiver.code(f"f3.get({reference!r})"), EXHAUSTED)
        reference = sender.do("f3.put(b'v', retrievals=f3.UNLIMITED)")
        there.do(f"f3.delete({reference!r})")
        self.assertEqual(here.code(f"f3.get({reference!r})"), EXHAUSTED)

    def test_10_5_each_refusal_has_its_own_error(self):
        sender, there = self.functions(1, 2)
        self.assertEqual(there.code("f3.get('no reference')"), MALFORMED)
        reference = sender.do("f3.put(b'v', retrievals=9)")
        changed = reference[:60] + ("A" if reference[60] != "A" else "B") + reference[61:]
        self.assertEqual(there.code(f"f3.get({changed!r})"), NOT_AUTHENTIC)
        brief = sender.do("f3.put(b'v', lifetime=0.001)")
        time.sleep(0.05)  # the promise is about time
        self.assertEqual(there.code(f"f3.get({brief!r})"), EXPIRED)
        once = sender.do("f3.put(b'v')")
        there.do(f"f3.get({once!r})")
        self.assertEqual(there.code(f"f3.get({once!r})"), EXHAUSTED)
        for_action = sender.do("f3.put(b'v', action='sum')")
        self.assertEqual(there.code(f"f3.get({for_action!r})"), OUT_OF_SCOPE)

    def test_10_6_who_asks_is_decided_by_the_socket(self):
        guest = self.sandbox(1, "guest", "sum")
        same, other = self.sandbox(2, "guest", "mean"), self.sandbox(2, "other", "sum")
        reference = guest.do("f3.put(b'v', retrievals=5)")
        self.assertEqual(same.do(f"bytes(f3.get({reference!r}).data)"), b"v")
        for stranger in (other, *self.functions(1, 2)):
            for call in ("get", "delete", "stat"):
                self.assertEqual(stranger.code(f"f3.{call}({reference!r})"), OUT_OF_SCOPE)
        narrow = guest.do("f3.put(b'v', action='mean')")
        self.assertEqual(guest.code(f"f3.get({narrow!r})"), OUT_OF_SCOPE)
        self.assertEqual(same.do(f"bytes(f3.get({narrow!r}).data)"), b"v")

    def test_10_7_memory_is_bounded_and_puts_wait(self):
        sender, other = self.functions(1, 1)
        sender.do("held = [f3.alloc(100 << 20) for _ in range(5)]", timeout=60)
        start = time.monotonic()
        self.assertEqual(sender.code("f3.alloc(100 << 20, timeout=1)"), TIMEOUT)
        self.assertLess(time.monotonic() - start, 5)
        self.assertLessEqual(used(self.c, 1), 512 * MIB)
        other.start("waited = f3.alloc(100 << 20, timeout=60)")
        self.assertFalse(other.answered(0.5))
        sender.do("del held[-1]")
        other.result(60)

    def test_10_8_a_restarted_agents_values_are_gone_and_that_is_said(self):
        sender, there = self.functions(3, 2)
        reference, _ = sender.put_random(100)
        large, _ = sender.put_random(3 * MIB, retrievals=2)
        self.c.kill("n3")
        self.c.wait_healthy()
        for value in (reference, large):
            self.assertEqual(there.code(f"f3.get({value!r}, timeout=20)"), EARLIER_EPOCH)

    def test_10_9_what_stops_in_the_middle_gives_bytes_or_an_error_in_time(self):
        sender, receiver = self.functions(3, 1)
        reference, digest = sender.put_random(64 * MIB)
        pid = self.c.pid("n3")
        os.kill(pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            self.assertIn(receiver.code(f"f3.get({reference!r}, timeout=2)"),
                          (TIMEOUT, UNAVAILABLE, UNREACHABLE))
            self.assertLess(time.monotonic() - start, 5)
        finally:
            os.kill(pid, signal.SIGCONT)
        # What was not got can be got still.
        self.assertEqual(receiver.hash(reference), digest)
        reference, digest = sender.put_random(64 * MIB, seed=2)
        dying = self.enterContext(Function(self.c, 1))
        dying.do(f"view = f3.stream({reference!r})")
        dying.kill()
        self.assertIn(receiver.code(f"assert hashlib.sha256(f3.get({reference!r}).data).hexdigest()"
                                    f" == {digest!r}"), (None, EXHAUSTED))
        self.await_given_back((1, 3))

    def test_10_10_a_reference_to_a_file_is_to_one_version(self):
        path = self.path(1, "durable", "file")
        path.write_bytes(b"one" * 1000)
        reference = self.c.f3("ref", path, "--times", "2").stdout.strip()
        path.write_bytes(b"two" * 1000)
        for node in ("n1", "n2"):
            done = self.c.f3("get", reference, "--node", node)
            self.assertEqual(done.stdout, "one" * 1000)
        done = self.c.f3("get", reference, "--node", "n3", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no retrievals left", done.stderr)
        path.unlink()

    def test_10_11_values_of_an_agent_that_was_stopped_can_still_be_got(self):
        sender, there, third = self.functions(3, 2, 1)
        values = [sender.put_random(size, seed=size, retrievals=3) for size in (100, 3 * MIB)]
        self.c.stop_node(3)
        try:
            for reference, digest in values:
                self.assertEqual(there.hash(reference), digest)
                self.assertEqual(third.hash(reference), digest)
        finally:
            self.c.start_node(3)
        (back,) = self.functions(3)
        for reference, digest in values:
            self.assertEqual(back.hash(reference), digest)
            for function in (there, third, back):
                self.assertEqual(function.code(f"f3.get({reference!r})"), EXHAUSTED)
