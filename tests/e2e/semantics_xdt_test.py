"""SEMANTICS.md, section 10: values of functions, passed by reference."""

import errno
import fcntl
import json
import mmap
import os
import signal
import time

from attach_harness import ONE_MOUNT, Lab, RuncContainer
from harness import ExtraNode, Worker, ask, run
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


class References(XdtTest):
    """References that are opened as files."""

    TIME_LIMIT = 240

    def function(self, node):
        return self.enterContext(Function(self.c, node))

    def file(self, node, reference):
        return self.c.n(node) / ".f3" / "ref" / reference

    def left(self, reference):
        """Retrievals left; None when there are none."""
        asker = self.function(1)
        if asker.code(f"info = f3.stat({reference!r})") == EXHAUSTED:
            return None
        return asker.do("info[1]")

    def test_10_12_a_reference_is_the_name_of_a_file(self):
        sender = self.function(1)
        for size in (0, 1, 1000, 16 * 1024 + 1, MIB, 9 * MIB + 5):
            reference, digest = sender.put_random(size, seed=size, retrievals=4)
            for node in (1, 2):
                path = self.file(node, reference)
                done = run("sha256sum", path)
                self.assertEqual(done.stdout.split()[0], digest)
                # Unmodified programs that copy within the kernel, or between mounts.
                run("cp", path, self.path(node, "ephemeral", "copy"))
                done = run("sha256sum", self.path(node, "ephemeral", "copy"))
                self.assertEqual(done.stdout.split()[0], digest)
        run("cp", self.path(1, "ephemeral", "copy"), self.path(1, "durable", "copy"))
        of_file = self.c.f3("ref", self.path(2, "durable", "copy")).stdout.strip()
        self.assertEqual(run("sha256sum", self.file(1, of_file)).stdout.split()[0], digest)
        self.assertNotIn(".f3", os.listdir(self.c.n(1)))
        self.assertEqual(os.listdir(self.c.n(1) / ".f3"), ["ref"])
        self.assertEqual(os.listdir(self.c.n(1) / ".f3" / "ref"), [])
        top = self.c.n(1) / ".f3"
        with self.fails(errno.EEXIST):
            top.mkdir()
        with self.fails(errno.EBUSY):
            top.rmdir()
        with self.fails(errno.EBUSY):
            top.rename(self.path(1, "ephemeral", "away"))
        with self.fails(errno.EBUSY):
            os.rename(self.path(1, "ephemeral"), top)
        # Where the root of one mount is a directory of another.
        hidden = self.path(1, "ephemeral", ".f3")
        hidden.mkdir()
        (hidden / "file").write_text("x")
        with ExtraNode(self.c, source=f"default/{self._name}/ephemeral") as extra:
            self.assertEqual(sorted(os.listdir(extra.point)), ["copy"])
            self.assertEqual(os.listdir(extra.point / ".f3"), ["ref"])
        self.assertEqual(os.listdir(hidden), ["file"])

    def test_10_13_an_open_is_one_retrieval(self):
        sender = self.function(1)
        for size in (100, 3 * MIB):
            reference, _ = sender.put_random(size, retrievals=3)
            for node in (1, 2):
                path = self.file(node, reference)
                for _ in range(3):
                    self.assertEqual(os.stat(path).st_size, size)
                    self.assertTrue(os.access(path, os.R_OK))
            self.assertEqual(self.left(reference), 3)
            with open(self.file(2, reference), "rb") as f, os.fdopen(os.dup(f.fileno()), "rb") as g:
                value = f.read()
                self.assertEqual(len(value), size)
                g.seek(0)
                self.assertEqual(g.read(), value)
                self.assertEqual(os.pread(f.fileno(), 10, 50), value[50:60])
                self.assertEqual(os.lseek(f.fileno(), 0, os.SEEK_HOLE), size)
                self.assertEqual(os.lseek(f.fileno(), 5, os.SEEK_DATA), 5)
                with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                    self.assertEqual(mapped[:], value)
                self.assertEqual(self.left(reference), 2)
                # What is open stays, whatever becomes of the reference.
                with open(self.file(1, reference), "rb") as h, open(self.file(2, reference)):
                    self.assertIsNone(self.left(reference))
                    self.assertEqual(os.fstat(f.fileno()).st_size, size)
                    self.assertEqual(os.pread(f.fileno(), 20, 0), value[:20])
                    self.assertEqual(h.read(), value)
        self.await_given_back((1,))

    def test_10_14_each_refusal_has_its_errno(self):
        sender = self.function(1)
        for node in (1, 2):
            with self.fails(errno.ENOENT):
                os.stat(self.file(node, "no-reference"))
            reference = sender.do("f3.put(b'v', retrievals=9)")
            changed = reference[:60] + ("A" if reference[60] != "A" else "B") + reference[61:]
            with self.fails(errno.EACCES):
                os.stat(self.file(node, changed))
            brief = sender.do("f3.put(b'v', lifetime=0.5)")
            os.stat(self.file(node, brief))
            with self.fails(errno.ETIME):
                while True:  # until the time is over: the name is never kept
                    os.stat(self.file(node, brief))
            for_action = sender.do("f3.put(b'v', action='sum')")
            with self.fails(errno.EPERM):
                os.stat(self.file(node, for_action))
            once = sender.do("f3.put(b'v')")
            self.assertEqual(self.file(node, once).read_bytes(), b"v")
            with self.fails(errno.ENOENT):
                open(self.file(node, once))
            deleted = sender.do("f3.put(b'v', retrievals=9)")
            sender.do(f"f3.delete({deleted!r})")
            with self.fails(errno.ENOENT):
                open(self.file(node, deleted))
        old = self.function(3).do("f3.put(b'v', retrievals=9)")
        self.c.kill("n3")
        self.c.wait_healthy()
        for node in (1, 3):
            with self.fails(errno.ESTALE):
                open(self.file(node, old))

    def test_10_15_nothing_there_can_be_changed(self):
        reference, _ = self.function(1).put_random(20 * 1024, retrievals=9)
        path = self.file(1, reference)
        refs, other = path.parent, self.path(1, "ephemeral", "other")
        other.write_text("x")
        changes = [lambda: os.open(path, os.O_WRONLY), lambda: os.open(path, os.O_RDWR),
                   lambda: os.truncate(path, 0), lambda: os.chmod(path, 0o666),
                   lambda: os.utime(path), lambda: os.unlink(path),
                   lambda: os.rename(path, other), lambda: os.rename(other, refs / "other"),
                   lambda: os.setxattr(path, "user.a", b"b"), lambda: os.mkdir(refs / "d"),
                   lambda: os.symlink("a", refs / "l"), lambda: os.mkfifo(refs / "f"),
                   lambda: os.open(refs / "new", os.O_CREAT | os.O_WRONLY),
                   lambda: os.rmdir(refs), lambda: os.open(refs, os.O_TMPFILE | os.O_RDWR)]
        for change in changes:
            with self.fails(errno.EROFS):
                change()
        with self.fails(errno.EXDEV):
            os.link(path, self.path(1, "ephemeral", "link"))
        self.assertEqual(os.listxattr(path), [])
        nobody = self.enterContext(Worker())
        nobody.do(f"os.chdir({str(refs)!r}); os.setgid(65534); os.setuid(65534)")
        self.assertEqual(len(nobody.do(f"open({reference!r}, 'rb').read()")), 20 * 1024)
        for piece in (f"os.open({reference!r}, os.O_RDWR)", f"os.unlink({reference!r})"):
            with self.fails(errno.EACCES):
                nobody.do(piece)
        with open(path, "rb") as f:
            fcntl.lockf(f, fcntl.LOCK_SH)
            fcntl.flock(f, fcntl.LOCK_SH)
            with self.fails(errno.ENOLCK):
                fcntl.flock(f, fcntl.LOCK_EX)
            with self.fails(errno.EACCES):
                mmap.mmap(f.fileno(), 0)  # writable

    def test_10_16_in_a_sandbox_the_sandbox_asks(self):
        lab = self.enterContext(Lab())
        ours = self.function(1).do("f3.put(b'of the node', retrievals=99)")

        def attached(namespace, action):
            container = self.enterContext(RuncContainer(lab))
            self.c.f3("attach", "--node", "n1", "--container", container.id, "--action", action,
                      "--namespace", namespace, "--annotations", json.dumps(ONE_MOUNT))
            self.addCleanup(self.c.f3, "detach", "--node", "n1", "--container", container.id)
            return container

        def read(container, reference):
            return container.sh(f"cat /mnt/f3/.f3/ref/{reference} 2>&1", check=False).stdout

        summer, meaner = attached("guest", "sum"), attached("guest", "mean")
        stranger = attached("other", "sum")
        denied = os.strerror(errno.EPERM)
        with Function(self.c, 1, path=summer.path("/run/f3/xdt.sock")) as f:
            any_action = f.do("f3.put(b'for all', retrievals=99)")
            for_mean = f.do("f3.put(b'for mean', retrievals=99, action='mean')")
        self.assertEqual(read(summer, any_action), "for all")
        self.assertEqual(read(meaner, any_action), "for all")
        self.assertEqual(read(meaner, for_mean), "for mean")
        self.assertIn(denied, read(summer, for_mean))
        for reference in (any_action, for_mean):
            self.assertIn(denied, read(stranger, reference))
            with self.fails(errno.EPERM):
                open(self.file(1, reference))
        for container in (summer, meaner, stranger):
            self.assertIn(denied, read(container, ours))
        self.assertEqual(self.file(2, ours).read_bytes(), b"of the node")

    def test_10_17_an_open_waits_for_what_comes(self):
        sender = self.function(3)
        reference, digest = sender.put_random(64 * MIB, retrievals=9)
        pid = self.c.pid("n3")
        path = str(self.file(1, reference))
        reader = self.enterContext(Worker())
        reader.do("_ = signal.signal(signal.SIGALRM, lambda *_: None)")
        reader.do("def interrupted(path):\n"
                  "    signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
                  "    libc = ctypes.CDLL(None, use_errno=True)\n"
                  "    fd = libc.open(path.encode(), os.O_RDONLY)\n"
                  "    return fd if fd >= 0 else -ctypes.get_errno()\n")
        reader.do("signal.siginterrupt(signal.SIGALRM, True)")
        os.kill(pid, signal.SIGSTOP)
        try:
            self.assertEqual(reader.do(f"interrupted({path!r})"), -errno.EINTR)
            start = time.monotonic()
            with self.fails(errno.ETIMEDOUT, errno.EIO):
                open(path)
            self.assertLess(time.monotonic() - start, 20)
            killed = self.enterContext(Worker())
            killed.start(f"open({path!r})")
            self.assertFalse(killed.answered(0.5))
            killed.kill()
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(run("sha256sum", path).stdout.split()[0], digest)
        sender.do(f"f3.delete({reference!r})")
        self.await_given_back((3,))
