"""SEMANTICS.md, sections 1 (visibility) and 3 (atomicity)."""

import errno
import os
import unittest

from harness import KINDS, RENAME_EXCHANGE, RENAME_NOREPLACE, ClusterTest, ExtraNode, renameat2


def read_all(fd):
    """All bytes of a descriptor, from the start."""
    data = b""
    while more := os.pread(fd, 1 << 20, len(data)):
        data += more
    return data


class Visibility(ClusterTest):

    def test_1_1_a_write_is_visible_at_once_on_its_node(self):
        (other,) = self.workers(1)
        for kind in KINDS:
            path = self.path(1, kind, "a")
            writer = self.fd(path, os.O_RDWR | os.O_CREAT)
            reader = self.fd(path)
            other.do(f"fd = os.open({str(path)!r}, os.O_RDONLY)")
            for i in range(50):
                data = bytes([65 + i % 26]) * (1000 + 3000 * i)
                os.pwrite(writer, data, 0)
                for fd in (reader, writer, self.fd(path)):
                    self.assertEqual(os.pread(fd, 1 << 20, 0), data, (kind, i))
                    self.assertEqual(os.fstat(fd).st_size, len(data), (kind, i))
                seen = other.do("(os.pread(fd, 1 << 20, 0), os.fstat(fd).st_size)")
                self.assertEqual(seen, (data, len(data)), (kind, i))

    def test_1_2_an_open_after_a_close_elsewhere_sees_it(self):
        for kind in KINDS:
            for i in range(30):
                writer = i % 3 + 1
                data = os.urandom(100) * (1 + 700 * (i % 4))
                self.path(writer, kind, "a").write_bytes(data)
                for node in (1, 2, 3):
                    self.assertEqual(self.path(node, kind, "a").read_bytes(), data, (kind, i, node))

    def test_1_2_also_when_it_was_changed_in_place(self):
        for kind in KINDS:
            expected = bytearray(os.urandom(300_000))
            self.path(1, kind, "a").write_bytes(expected)
            for i in range(12):
                with open(self.path(i % 3 + 1, kind, "a"), "r+b", buffering=0) as file:
                    file.seek(i * 20_000)
                    file.write(bytes([i]) * 5000)
                expected[i * 20_000:i * 20_000 + 5000] = bytes([i]) * 5000
                for node in (1, 2, 3):
                    self.assertEqual(self.path(node, kind, "a").read_bytes(), expected, (kind, i))

    def test_1_3_names_are_the_same_on_every_node_at_once(self):
        for kind in KINDS:
            for i in range(20):
                maker, mover, remover = (i % 3 + 1, (i + 1) % 3 + 1, (i + 2) % 3 + 1)
                self.assert_names(kind, [], ["old", "new"])
                (self.path(maker, kind, "old").mkdir if i % 2 else
                 self.path(maker, kind, "old").touch)()
                self.assert_names(kind, ["old"], ["new"])
                os.rename(self.path(mover, kind, "old"), self.path(mover, kind, "new"))
                self.assert_names(kind, ["new"], ["old"])
                (os.rmdir if i % 2 else os.unlink)(self.path(remover, kind, "new"))

    def assert_names(self, kind, there, missing):
        for node in (1, 2, 3):
            for name in there:
                self.assertTrue(self.path(node, kind, name).exists(), (node, name))
            for name in missing:
                self.assertFalse(self.path(node, kind, name).exists(), (node, name))
            self.assertEqual(os.listdir(self.path(node, kind)), there, node)

    def test_1_4_attributes_are_the_same_on_every_node_at_once(self):
        for kind in KINDS:
            self.path(1, kind, "a").write_bytes(b"x" * 10)
            changes = (lambda p: os.chmod(p, 0o751), lambda p: os.chown(p, 1234, 4321),
                       lambda p: os.utime(p, ns=(10**18 + 1, 10**18 + 2)),
                       lambda p: os.truncate(p, 5), lambda p: p.write_bytes(b"y" * 5000),
                       lambda p: os.chmod(p, 0o640))
            for i, change in enumerate(changes):
                before = self.attributes(kind)
                change(self.path(i % 3 + 1, kind, "a"))
                self.assertNotEqual(self.attributes(kind), before)
            mode, uid, gid, size, mtime = self.attributes(kind)
            self.assertEqual((mode & 0o777, uid, gid, size), (0o640, 1234, 4321, 5000))

    def test_1_4_a_file_that_was_only_just_made_shows_what_others_change(self):
        capability = bytes.fromhex("0100000200040000000000000000000000000000")
        def change_nothing(path, fd):
            os.pwrite(fd, b"y" * 7, 3)
        changes = {
            change_nothing: lambda st, xattrs: (st.st_size, st.st_nlink) == (10, 1),
            lambda path, fd: os.chmod(path, 0o751): lambda st, xattrs: st.st_mode & 0o777 == 0o751,
            lambda path, fd: os.chown(path, 5, 6): lambda st, xattrs: (st.st_uid, st.st_gid) == (5, 6),
            lambda path, fd: os.link(path, f"{path}.2"): lambda st, xattrs: st.st_nlink == 2,
            lambda path, fd: os.rename(path, f"{path}.3"): lambda st, xattrs: st.st_nlink == 1,
            lambda path, fd: os.unlink(path): lambda st, xattrs: st.st_nlink == 0,
            lambda path, fd: os.setxattr(path, "security.capability", capability):
                lambda st, xattrs: xattrs == ["security.capability"],
            lambda path, fd: os.truncate(path, 4): lambda st, xattrs: st.st_size == 4,
        }
        for kind in KINDS:
            for number, (change, holds) in enumerate(changes.items()):
                for node in (1, 2):
                    name = f"{number}-{node}"
                    fd = self.fd(self.path(1, kind, name), os.O_RDWR | os.O_CREAT | os.O_EXCL)
                    if os.fstat(fd).st_size == 0:
                        os.write(fd, b"x" * 10)
                    self.assertRaises(OSError, os.getxattr, fd, "security.capability")
                    change(self.path(node, kind, name), fd)
                    xattrs = [x for x in os.listxattr(fd) if x.startswith("security")]
                    self.assertTrue(holds(os.fstat(fd), xattrs), (kind, number, node, os.fstat(fd)))
                    if xattrs:
                        self.assertEqual(os.getxattr(fd, xattrs[0])[4:], capability[4:])
                    os.close(fd)

    def test_1_4_a_directory_that_was_only_just_changed_shows_what_others_change(self):
        capability = bytes.fromhex("0100000200040000000000000000000000000000")
        ours = [lambda d: (d / "f").write_bytes(b"x"), lambda d: (d / "sub").mkdir(),
                lambda d: (d / "link").symlink_to("f"), lambda d: os.link(d / "f", d / "hard"),
                lambda d: os.rename(d / "f", d / "g"), lambda d: (d / "hard").unlink(),
                lambda d: (d / "sub").rmdir(), lambda d: os.mkfifo(d / "pipe")]
        theirs = [lambda d: None, lambda d: os.chmod(d, 0o751), lambda d: os.chown(d, 5, 6),
                  lambda d: (d / "another").mkdir(),
                  lambda d: [change(d / "another") for change in (os.mkdir, os.rmdir)],
                  lambda d: os.utime(d, ns=(7, 8)),
                  lambda d: os.setxattr(d, "security.capability", capability)]
        def seen(node, kind, name):
            st = os.stat(self.path(node, kind, name))
            return (st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size,
                    st.st_mtime_ns, st.st_ctime_ns)
        for kind in KINDS:
            for number, their in enumerate(theirs):
                for node in (1, 2):
                    name = f"d{number}-{node}"
                    self.path(1, kind, name).mkdir()
                    for our in ours:
                        our(self.path(1, kind, name))
                        first = seen(1, kind, name)
                        self.assertEqual(first, seen(2, kind, name))
                    their(self.path(node, kind, name))
                    if their is theirs[-1]:
                        kept = os.getxattr(self.path(1, kind, name), "security.capability")
                        self.assertEqual(kept[4:], capability[4:])
                    after = seen(2, kind, name)
                    self.assertEqual(seen(1, kind, name), after)
                    self.assertEqual(after == first, their is theirs[0], (number, after))

    def test_1_4_the_home_shows_what_another_node_wrote_there(self):
        for kind in KINDS:
            self.path(2, kind, "a").write_bytes(b"x" * 100)
            for i in range(1, 20):
                at = i * 10_000
                os.stat(self.path(2, kind, "a"))
                fd = os.open(self.path(3, kind, "a"), os.O_RDWR)
                os.pwrite(fd, b"y", at)
                os.close(fd)
                for node in (2, 1, 3):
                    self.assertEqual(os.stat(self.path(node, kind, "a")).st_size, at + 1, node)

    def attributes(self, kind):
        """The file's attributes, which must be the same on all nodes."""
        seen = []
        for node in (1, 2, 3):
            s = os.stat(self.path(node, kind, "a"))
            seen.append((s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns))
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])
        return seen[0]

    def test_1_5_a_length_is_never_seen_without_its_bytes(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.assert_lengths_have_bytes(kind, "os.stat(path).st_size", "0")

    def test_1_5_nor_through_an_open_handle(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.assert_lengths_have_bytes(kind, "0", "os.fstat(fd).st_size")

    def assert_lengths_have_bytes(self, kind, before_open, after_open):
        """Readers on two nodes compare the length that they see with what they can read then."""
        readers = self.workers(2)
        self.path(1, kind, "a").touch()
        for node, reader in zip((2, 3), readers):
            reader.do("None")  # it is there
            reader.start(f"""if True:
                path = {str(self.path(node, kind, "a"))!r}
                end = {str(self.path(node, kind, "end"))!r}
                looks, wrong = 0, []
                while not wrong and (looks == 0 or not os.path.exists(end)):
                    size = {before_open}
                    fd = os.open(path, os.O_RDONLY)
                    size = max(size, {after_open})
                    data = b""
                    while len(data) < size and (more := os.read(fd, 1 << 20)):
                        data += more
                    os.close(fd)
                    looks += 1
                    if len(data) < size or data.strip(b"x"):
                        wrong.append(f"length {{size}}, read {{len(data)}}, "
                                     f"never written {{len(data.strip(b'x'))}}")
            """)
        with open(self.path(1, kind, "a"), "ab", buffering=0) as file:
            for i in range(100):
                file.write(b"x" * (7777 * (i % 5 + 1)))
                os.fsync(file.fileno())
        for _ in range(20):
            with open(self.path(1, kind, "a"), "ab") as file:
                file.write(b"x" * 12345)
        self.path(1, kind, "end").touch()
        for reader in readers:
            reader.result()
        for reader in readers:
            self.assertEqual(reader.do("wrong"), [])
            self.assertGreater(reader.do("looks"), 0)

    def test_1_6_a_reader_keeps_its_version_when_another_node_truncates(self):
        for kind in KINDS:
            old, new = os.urandom(3 << 20), os.urandom(1 << 20)
            self.path(1, kind, "a").write_bytes(old)
            reader = self.fd(self.path(2, kind, "a"))
            self.assertEqual(os.pread(reader, 4096, 0), old[:4096])
            self.path(1, kind, "a").write_bytes(new)
            self.assertEqual(self.path(3, kind, "a").read_bytes(), new)
            with self.subTest(kind):
                self.assertEqual(read_all(reader), old)
            self.assertEqual(self.path(2, kind, "a").read_bytes(), new)

    def test_1_6_what_is_cut_in_place_is_an_error_elsewhere(self):
        old = os.urandom(24 << 20)
        self.path(1, "ephemeral", "a").write_bytes(old)
        here = self.fd(self.path(1, "ephemeral", "a"))
        reader = self.fd(self.path(2, "ephemeral", "a"))
        self.assertEqual(os.pread(reader, 4096, 0), old[:4096])
        os.truncate(self.path(1, "ephemeral", "a"), 0)
        self.assertEqual(os.fstat(here).st_size, 0)
        for at in range(0, len(old), 1 << 20):
            try:
                self.assertEqual(os.pread(reader, 1 << 20, at), old[at:at + (1 << 20)])
            except OSError as error:
                self.assertEqual(error.errno, errno.ESTALE)
                return

    def test_1_7_writers_on_two_nodes_write_one_file(self):
        for kind in KINDS:
            fds = [self.fd(self.path(node, kind, "a"), os.O_RDWR | os.O_CREAT)
                   for node in (1, 2, 3)]
            for i in range(30):
                data = bytes([65 + i % 26]) * 5000
                os.pwrite(fds[i % 3], data, i * 3000)
                for fd in fds:
                    self.assertEqual(os.pread(fd, 5000, i * 3000), data, (kind, i))

    def test_1_7_appends_do_not_overwrite_each_other(self):
        for kind in KINDS:
            self.path(1, kind, "log").touch()
            workers = self.workers(3)
            for node, worker in enumerate(workers, 1):
                worker.do(f"fd = os.open({str(self.path(node, kind, 'log'))!r}, "
                          "os.O_WRONLY | os.O_APPEND)")
            for node, worker in enumerate(workers, 1):
                worker.start(f"for i in range(100): os.write(fd, b'%d %06d\\n' % ({node}, i))")
            for worker in workers:
                worker.result()
            for worker in workers:
                worker.do("os.close(fd)")
            lines = self.path(1, kind, "log").read_text().split("\n")
            self.assertEqual(lines.pop(), "")
            for node in (1, 2, 3):
                mine = [line for line in lines if line.startswith(str(node))]
                self.assertEqual(mine, [f"{node} {i:06}" for i in range(100)], kind)
            self.assertEqual(len(lines), 300)

    def test_1_8_taking_a_lock_shows_what_was_written_before(self):
        for kind in KINDS:
            for call in ("lockf", "flock"):
                name = f"counter.{call}"
                self.path(1, kind, name).write_bytes(b"000000")
                workers = self.workers(3)
                for node, worker in enumerate(workers, 1):
                    worker.do(f"fd = os.open({str(self.path(node, kind, name))!r}, os.O_RDWR)")
                for worker in workers:
                    worker.start(f"""for _ in range(40):
                        fcntl.{call}(fd, fcntl.LOCK_EX)
                        os.pwrite(fd, b"%06d" % (int(os.pread(fd, 6, 0)) + 1), 0)
                        fcntl.{call}(fd, fcntl.LOCK_UN)
                    """)
                for worker in workers:
                    worker.result()
                for worker in workers:
                    self.assertEqual(worker.do("os.pread(fd, 6, 0)"), b"000120", (kind, call))

    def test_1_9_fsync_of_an_ephemeral_file_shows_it(self):
        fd = self.fd(self.path(1, "ephemeral", "a"), os.O_RDWR | os.O_CREAT)
        for i in range(1, 11):
            os.write(fd, bytes([64 + i]) * 10_000)
            os.fsync(fd)
            for node in (2, 3):
                data = self.path(node, "ephemeral", "a").read_bytes()
                self.assertEqual(data, b"".join(bytes([64 + k]) * 10_000 for k in range(1, i + 1)))


    def test_1_10_mounts_of_one_node_show_each_others_changes(self):
        self.path(1, "ephemeral", "sub").mkdir()
        self.path(1, "durable", "sub").mkdir()
        for kind in KINDS:
            top = self.path(1, kind).relative_to(self.c.n(1))
            with ExtraNode(self.c, source=f"default/{top}",
                           second=f"default/{top}/sub") as extra:
                whole, part = extra.point / "sub", extra.second
                for here, there in ((whole, part), (part, whole)):
                    self._changes_are_seen(here, there)

    def _changes_are_seen(self, here, there):
        """Each thing is looked at first, so that it is cached there."""
        for i in range(20):
            with self.assertRaises(FileNotFoundError):
                (there / "new").stat()
            self.assertNotIn("new", os.listdir(there))
            (here / "new").write_bytes(b"a" * 100)
            self.assertEqual((there / "new").stat().st_size, 100)
            self.assertEqual((there / "new").read_bytes(), b"a" * 100)
            (here / "new").chmod(0o600 + i)
            self.assertEqual((there / "new").stat().st_mode & 0o777, 0o600 + i)
            os.truncate(here / "new", 40)
            self.assertEqual((there / "new").stat().st_size, 40)
            with open(here / "new", "r+b", buffering=0) as writer:
                with open(there / "new", "rb", buffering=0) as reader:
                    writer.write(b"b" * 200)
                    self.assertEqual(os.fstat(reader.fileno()).st_size, 200)
                    self.assertEqual(os.pread(reader.fileno(), 300, 0), b"b" * 200)
            os.link(here / "new", here / "other")
            self.assertEqual((there / "new").stat().st_nlink, 2)
            os.rename(here / "new", here / "other2")
            self.assertFalse((there / "new").exists())
            self.assertEqual(sorted(os.listdir(there)), ["other", "other2"])
            os.unlink(here / "other")
            self.assertEqual((there / "other2").stat().st_nlink, 1)
            (here / "dir").mkdir()
            self.assertTrue((there / "dir").is_dir())
            os.rmdir(here / "dir")
            os.unlink(here / "other2")
            self.assertEqual(os.listdir(there), [])

    def test_1_10_crossing_changes_of_one_directory_end(self):
        with ExtraNode(self.c, second="default/") as extra:
            places = [extra.point / "crossing", extra.second / "crossing"]
            places[0].mkdir()
            workers = self.workers(4)
            for i, worker in enumerate(workers):
                worker.start(f"""if True:
                    slowest = 0
                    os.chdir({str(places[i % 2])!r})
                    for k in range(300):
                        began = time.monotonic()
                        os.close(os.open(f"a{i}-{{k}}", os.O_CREAT | os.O_WRONLY))
                        os.rename(f"a{i}-{{k}}", f"b{{k % 7}}")
                        os.listdir(".")
                        slowest = max(slowest, time.monotonic() - began)
                """)
            for worker in workers:
                worker.result(timeout=100)
                self.assertLess(worker.do("slowest"), 10)
            self.assertEqual(sorted(os.listdir(places[0])), [f"b{k}" for k in range(7)])
            self.assertEqual(sorted(os.listdir(places[1])), [f"b{k}" for k in range(7)])


class Atomicity(ClusterTest):

    def test_3_1_a_rename_shows_the_old_or_the_new_everywhere(self):
        for i in range(60):
            self.path(1, "durable", f"old{i}").touch()
        directory = self.path(2, "durable")
        observers = self.workers(2)
        for node, observer in zip((2, 3), observers):
            observer.start(f"""if True:
                wrong = []
                os.chdir({str(self.path(node, 'durable'))!r})
                for i in range(60):
                    old, new = f"old{{i}}", f"new{{i}}"
                    while not wrong:
                        if os.path.exists(new):
                            if os.path.exists(old): wrong.append(("both", i))
                            break
                        if not os.path.exists(old) and not os.path.exists(new):
                            wrong.append(("neither", i))
                os.chdir("/")
            """)
        for i in range(60):
            os.rename(self.path(1, "durable", f"old{i}"), self.path(1, "durable", f"new{i}"))
        for observer in observers:
            observer.result()
            self.assertEqual(observer.do("wrong"), [])
        self.assertEqual(len(os.listdir(directory)), 60)

    def test_3_2_rename_over_a_file_replaces_it_and_handles_keep_their_bytes(self):
        for kind in KINDS:
            self.path(1, kind, "a").write_bytes(b"0" * 50_000)
            observers = self.workers(2)
            for node, observer in zip((2, 3), observers):
                path, end = (str(self.path(node, kind, name)) for name in ("a", "end"))
                observer.start(f"""if True:
                    wrong = []
                    while not wrong and not os.path.exists({end!r}):
                        with open({path!r}, "rb") as file:
                            data = file.read()
                        if len(data) != 50_000 or data.strip(data[:1]):
                            wrong.append((len(data), data[:10]))
                """)
            for i in range(1, 40):
                held = {node: self.fd(self.path(node, kind, "a")) for node in (1, 2, 3)}
                old = os.pread(held[1], 50_000, 0)
                self.path(1, kind, "b").write_bytes(b"%d" % (i % 10) * 50_000)
                os.rename(self.path(1, kind, "b"), self.path(1, kind, "a"))
                for node, fd in held.items():
                    self.assertEqual(os.pread(fd, 50_001, 0), old, (kind, i, node))
                    os.close(fd)
            self.path(1, kind, "end").touch()
            for observer in observers:
                observer.result()
                self.assertEqual(observer.do("wrong"), [], kind)

    def test_3_2_an_open_that_meets_many_renames_opens_one_of_the_files(self):
        for kind in KINDS:
            path, new = self.path(1, kind, "a"), self.path(1, kind, "b")
            path.write_text("0")
            there, end = (str(self.path(2, kind, name)) for name in ("a", "end"))
            observer, = self.workers(1)
            observer.start(f"""if True:
                wrong = []
                while not wrong and not os.path.exists({end!r}):
                    with open({there!r}) as file:
                        text = file.read()
                    if not text.isdigit():
                        wrong.append(text)
            """)
            for i in range(200):
                new.write_text(str(i))
                os.rename(new, path)
            self.path(1, kind, "end").touch()
            observer.result()
            self.assertEqual(observer.do("wrong"), [])

    def test_3_3_rename_noreplace_and_exchange(self):
        a, b, c = (self.path(1, "durable", name) for name in "abc")
        a.write_text("a")
        b.write_text("b")
        with self.fails(errno.EEXIST):
            renameat2(a, b, RENAME_NOREPLACE)
        self.assertEqual(self.path(2, "durable", "b").read_text(), "b")
        renameat2(a, b, RENAME_EXCHANGE)
        self.assertEqual(self.path(2, "durable", "a").read_text(), "b")
        self.assertEqual(self.path(3, "durable", "b").read_text(), "a")
        with self.fails(errno.ENOENT):
            renameat2(a, c, RENAME_EXCHANGE)
        renameat2(a, c, RENAME_NOREPLACE)
        self.assertEqual(sorted(os.listdir(self.path(2, "durable"))), ["b", "c"])

    def test_3_4_exclusive_creation_succeeds_once(self):
        for kind in KINDS:
            workers = self.workers(6)
            for i, worker in enumerate(workers):
                worker.start(f"""if True:
                    won = []
                    for i in range(60):
                        try:
                            os.close(os.open({str(self.path(i % 3 + 1, kind))!r} + f"/{{i}}",
                                             os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                            won.append(i)
                        except FileExistsError:
                            pass
                """)
            won = []
            for worker in workers:
                worker.result()
                won += worker.do("won")
            self.assertEqual(sorted(won), list(range(60)), kind)

    def test_3_5_operations_on_one_directory_are_linearizable(self):
        # Whoever holds "lock" sees exactly the names that earlier holders made, and adds the next.
        workers = self.workers(3)
        for node, worker in enumerate(workers, 1):
            worker.start(f"""if True:
                os.chdir({str(self.path(node, 'durable'))!r})
                wrong = []
                for _ in range(25):
                    while True:
                        try:
                            os.mkdir("lock")
                            break
                        except FileExistsError:
                            pass
                    names = sorted(os.listdir("."))
                    count = len(names) - 1
                    if names != sorted([f"n{{i:03}}" for i in range(count)] + ["lock"]):
                        wrong.append(names)
                    if count and not os.path.exists(f"n{{count - 1:03}}"):
                        wrong.append(count - 1)
                    os.close(os.open(f"n{{count:03}}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    os.rmdir("lock")
                os.chdir("/")
            """)
        for worker in workers:
            worker.result(60)
            self.assertEqual(worker.do("wrong"), [])
        names = [f"n{i:03}" for i in range(75)]
        self.assertEqual(sorted(os.listdir(self.path(1, "durable"))), names)


if __name__ == "__main__":
    unittest.main()
