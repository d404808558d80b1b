"""SEMANTICS.md, sections 4 (classes) and 5 (follow)."""

import errno
import hashlib
import os
import signal
import subprocess
import tempfile
import unittest

from harness import (RENAME_EXCHANGE, ClusterTest, ExtraNode, get_xattr, renameat2, set_xattr,
                     wait_until)

FULL = bool(os.environ.get("F3_FULL"))


class Classes(ClusterTest):

    def class_of(self, path):
        self.assertEqual(get_xattr(path, "class"), self.c.stat(path)["class"])
        return self.c.stat(path)["class"]

    def test_4_1_the_class_is_the_files_the_directorys_the_mounts_or_durable(self):
        with ExtraNode(self.c, "class=ephemeral") as extra:
            root = extra.point / "of_mount"
            root.mkdir()
            (root / "mount").write_text("m")
            (root / "directory").mkdir()
            set_xattr(root / "directory", "class", "durable")
            (root / "directory" / "a").write_text("d")
            self.assertEqual(self.c.stat(self.c.n(1) / "of_mount" / "mount")["class"], "ephemeral")
            self.assertEqual(self.class_of(self.c.n(1) / "of_mount" / "directory" / "a"), "durable")
        self.path(1, "ephemeral", "directory").write_text("d")
        self.assertEqual(self.class_of(self.path(1, "ephemeral", "directory")), "ephemeral")
        self.path(1, "ephemeral", "own").touch()
        set_xattr(self.path(1, "ephemeral", "own"), "class", "durable")
        self.path(1, "ephemeral", "own").write_text("o")
        self.assertEqual(self.class_of(self.path(2, "ephemeral", "own")), "durable")
        self.path(1, "plain").write_text("p")
        self.assertEqual(self.class_of(self.path(1, "plain")), "durable")

    def test_4_2_setting_the_class_converts_and_keeps_the_content(self):
        data = os.urandom(5 << 20)
        for old, new in (("durable", "ephemeral"), ("ephemeral", "durable")):
            for setter in (1, 2):
                with self.subTest(f"{old} to {new} on node {setter}"):
                    self.path(1, old, f"a{setter}").write_bytes(data)
                    set_xattr(self.path(setter, old, f"a{setter}"), "class", new)
                    for node in (1, 2, 3):
                        there = self.path(node, old, f"a{setter}")
                        self.assertEqual(self.class_of(there), new)
                        self.assertEqual(there.read_bytes(), data)

    def test_4_3_renaming_to_a_durable_place_makes_durable(self):
        data = os.urandom(3 << 20)
        self.path(2, "ephemeral", "a").write_bytes(data)
        os.rename(self.path(2, "ephemeral", "a"), self.path(2, "durable", "a"))
        self.c.stop_node(2)
        try:
            self.assertEqual(self.class_of(self.path(1, "durable", "a")), "durable")
            self.assertEqual(self.path(1, "durable", "a").read_bytes(), data)
        finally:
            self.c.start_node(2)

    def test_4_3_changing_places_with_a_durable_file_makes_durable(self):
        data = {}
        for turned in (False, True):
            for kind in ("ephemeral", "durable"):
                data[kind, turned] = os.urandom(1 << 20)
                self.path(2, kind, f"x{turned}").write_bytes(data[kind, turned])
            places = [self.path(2, "ephemeral", f"x{turned}"), self.path(2, "durable", f"x{turned}")]
            renameat2(*(reversed(places) if turned else places), RENAME_EXCHANGE)
        self.c.stop_node(2)
        try:
            for turned in (False, True):
                for kind, other in (("ephemeral", "durable"), ("durable", "ephemeral")):
                    path = self.path(1, kind, f"x{turned}")
                    self.assertEqual(self.class_of(path), "durable")
                    self.assertEqual(path.read_bytes(), data[other, turned])
        finally:
            self.c.start_node(2)

    def test_4_3_a_link_there_is_refused_and_a_directory_converts_nothing(self):
        self.path(1, "ephemeral", "a").write_text("a")
        with self.fails(errno.EXDEV):
            os.link(self.path(1, "ephemeral", "a"), self.path(1, "durable", "a"))
        self.path(1, "ephemeral", "sub").mkdir()
        self.path(1, "ephemeral", "sub", "b").write_text("b")
        os.rename(self.path(1, "ephemeral", "sub"), self.path(1, "durable", "sub"))
        self.assertEqual(self.class_of(self.path(2, "durable", "sub", "b")), "ephemeral")
        self.assertEqual(self.path(2, "durable", "sub", "b").read_text(), "b")

    def test_4_4_what_is_computed_can_be_read_and_not_set(self):
        path = self.path(1, "ephemeral", "a")
        path.write_text("a")
        wait_until(lambda: get_xattr(path, "state") == "sealed", what="a sealed file")
        wait_until(lambda: self.path(2, "ephemeral", "a").read_text() == "a" and
                   get_xattr(path, "copies") == "n2", what="a copy on n2")
        self.assertEqual(get_xattr(path, "state"), "sealed")
        self.assertEqual(get_xattr(path, "home"), "n1")
        self.assertEqual(get_xattr(path, "version"), str(self.c.stat(path)["version"]))
        for name in ("state", "home", "copies", "version"):
            with self.fails(errno.EPERM):
                set_xattr(path, name, "1")

    def test_4_5_ttl_unlinks_after_the_last_close(self):
        set_xattr(self.path(1, "ephemeral"), "ttl", "1")
        path = self.path(1, "ephemeral", "a")
        path.write_text("a")
        writer = self.fd(path, os.O_RDWR)
        reader = self.fd(self.path(2, "ephemeral", "a"))
        later = self.path(3, "ephemeral", "later")
        later.write_text("later")
        wait_until(lambda: not later.exists(), what="the end of a file with a ttl")
        self.assertTrue(path.exists(), "removed while it was open")
        os.close(writer)
        os.close(reader)
        wait_until(lambda: not path.exists(), what="the end of a file with a ttl")

    def test_4_5_ttl_can_be_set_on_a_closed_file(self):
        for kind in ("durable", "ephemeral"):
            with self.subTest(kind):
                path = self.path(1, kind, "a")
                path.write_text("a")
                wait_until(lambda: get_xattr(path, "state") == "sealed", what="a sealed file")
                set_xattr(path, "ttl", "1")
                wait_until(lambda: not path.exists(), what="the end of a file with a ttl")

    def test_4_5_open_handles_keep_their_bytes(self):
        for kind in ("durable", "ephemeral"):
            path = self.path(1, kind, "a")
            data = os.urandom(100_000)
            path.write_bytes(data)
            set_xattr(path, "ttl", "1")
            readers = [self.fd(self.path(node, kind, "a")) for node in (1, 2)]
            os.unlink(path)
            for reader in readers:
                self.assertEqual(os.pread(reader, 100_001, 0), data)

    def test_4_6_the_memory_tier_takes_files_and_has_an_end(self):
        set_xattr(self.path(1, "ephemeral"), "tier", "memory")
        path = self.path(1, "ephemeral", "a")
        path.write_bytes(b"x" * 100_000)
        self.assertEqual(self.c.stat(path)["tier"], "memory")
        self.assertEqual(self.c.stat(path)["local"]["tier"], "memory")
        held = sum(f.stat().st_size for f in self.c.tier(1, "memory").rglob("*") if f.is_file())
        self.assertGreaterEqual(held, 100_000)
        fd = self.fd(self.path(1, "ephemeral", "big"), os.O_WRONLY | os.O_CREAT)
        with self.fails(errno.ENOSPC):
            for _ in range(80):  # the tier has 64 MiB
                self.assertGreater(os.write(fd, bytes(1 << 20)), 0)
        os.close(fd)
        os.unlink(self.path(1, "ephemeral", "big"))
        self.assertEqual(self.path(2, "ephemeral", "a").read_bytes(), b"x" * 100_000)


class Follow(ClusterTest):

    def setUp(self):
        super().setUp()
        for kind in ("durable", "ephemeral"):
            set_xattr(self.path(1, kind), "follow", "1")
        self.writer, *self.readers = self.workers(3)

    def write(self, data):
        self.assertEqual(self.writer.do(f"os.write(fd, {data!r})"), len(data))

    def begin(self, kind, first=b"first"):
        """The writer on n1 has written `first`; a reader on n1 and one on n2 have read it."""
        self.writer.do(f"fd = os.open({str(self.path(1, kind, 'a'))!r}, "
                       "os.O_WRONLY | os.O_CREAT | os.O_TRUNC)")
        self.write(first)
        for node, reader in zip((1, 2), self.readers):
            reader.do(f"fd = os.open({str(self.path(node, kind, 'a'))!r}, os.O_RDONLY)")
            self.assertEqual(reader.do("os.read(fd, 100)"), first, f"n{node}")

    def start_reading(self):
        """The readers read at the end of what there is, and wait."""
        for reader in self.readers:
            reader.start("os.read(fd, 100)")
        for i, reader in enumerate(self.readers, 1):
            if reader.answered():
                self.fail(f"reader on n{i} did not wait: {reader.result()}")

    def test_5_1_readers_follow_the_writer_to_its_close(self):
        for kind in ("ephemeral",):
            with self.subTest(kind):
                self.begin(kind)
                for i in range(3):
                    self.start_reading()
                    self.write(b"more %d" % i)
                    for reader in self.readers:
                        self.assertEqual(reader.result(), b"more %d" % i)
                self.start_reading()
                self.writer.do("os.close(fd)")
                for reader in self.readers:
                    self.assertEqual(reader.result(), b"")
                    reader.do("os.close(fd)")

    def test_5_1_a_whole_stream_arrives_while_it_is_written(self):
        path = str(self.path(1, "ephemeral", "a"))
        self.writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT)")
        for node, reader in zip((1, 3), self.readers):
            reader.start(f"""if True:
                with open({str(self.path(node, 'ephemeral', 'a'))!r}, "rb") as file:
                    data = file.read()
            """)
        self.writer.do("for i in range(300): os.write(fd, i.to_bytes(2, 'big') * 5000)")
        self.writer.do("os.close(fd)")
        for reader in self.readers:
            reader.result()
            self.assertTrue(reader.do("data == b''.join(i.to_bytes(2, 'big') * 5000 "
                                      "for i in range(300))"), reader.do("len(data)"))

    def test_5_2_followers_of_a_writer_that_dies_get_eio(self):
        for kind in ("ephemeral",):
            with self.subTest(kind):
                self.begin(kind)
                self.start_reading()
                self.writer.kill(signal.SIGKILL)
                for reader in self.readers:
                    with self.fails(errno.EIO):
                        reader.result()
                    reader.do("os.close(fd)")
            (self.writer,) = self.workers(1)

    def test_5_6_sendfile_ends_at_the_size_that_the_kernel_knows(self):
        self.begin("ephemeral")
        self.write(b"more")
        for reader in self.readers:
            reader.do("into = os.memfd_create('into')")
            self.assertEqual(reader.do("os.lseek(fd, 0, os.SEEK_SET)"), 0)
            # However much that is: it ends, and reading goes on from there.
            reader.do("while os.sendfile(into, fd, None, 1 << 20): pass")
            reader.start("os.lseek(fd, 9, os.SEEK_SET) and os.read(fd, 100)")
        for reader in self.readers:
            self.assertFalse(reader.answered())
        self.write(b"end")
        for reader in self.readers:
            self.assertEqual(reader.result(), b"end")

    def cats(self):
        """`cat` of the file on n1 and on n2, each into a file of its own outside of F3."""
        for node in (1, 2):
            out = tempfile.TemporaryFile()
            self.addCleanup(out.close)
            cat = subprocess.Popen(["cat", self.path(node, "ephemeral", "a")], stdout=out,
                                   stderr=subprocess.DEVNULL)
            self.addCleanup(cat.wait)
            self.addCleanup(cat.kill)
            yield cat, out

    def stream(self, pieces, seconds):
        """The writer begins to write so many pieces of 1 MiB, in about that time."""
        path = str(self.path(1, "ephemeral", "a"))
        self.writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT)")
        self.writer.do("piece = os.urandom(1 << 20)")
        self.writer.start(f"""if True:
            began = time.monotonic()
            for i in range({pieces}):
                os.write(fd, i.to_bytes(4, "big") + piece[4:])
                time.sleep(max(0, began + (i + 1) * {seconds / pieces} - time.monotonic()))
            os.close(fd)
        """)

    def test_5_1_cat_gets_a_large_stream_whole_on_both_nodes(self):
        pieces = 1024 if FULL else 64
        self.stream(pieces, seconds=5 if FULL else 1)
        cats = list(self.cats())
        self.writer.result(timeout=80)
        digest = hashlib.sha256()
        rest = self.writer.do("piece[4:]")
        for i in range(pieces):
            digest.update(i.to_bytes(4, "big") + rest)
        for node, (cat, out) in enumerate(cats, 1):
            self.assertEqual(cat.wait(80), 0, f"n{node}")
            out.seek(0)
            self.assertEqual(hashlib.file_digest(out, "sha256").digest(), digest.digest())

    def test_5_2_cat_fails_on_both_nodes_when_the_writer_of_a_large_stream_dies(self):
        self.stream(1024, seconds=60)
        cats = list(self.cats())
        wait_until(lambda: all(os.fstat(out.fileno()).st_size >= 8 << 20 for _, out in cats),
                   what="8 MiB at both readers")
        self.writer.kill(signal.SIGKILL)
        for node, (cat, out) in enumerate(cats, 1):
            self.assertEqual(cat.wait(30), 1, f"n{node}")
        (self.writer,) = self.workers(1)

    def test_5_3_without_follow_the_end_is_the_current_size(self):
        for kind in ("durable", "ephemeral"):
            set_xattr(self.path(1, kind), "follow", "0")
        for kind in ("durable", "ephemeral"):
            self.writer.do(f"fd = os.open({str(self.path(1, kind, 'a'))!r}, "
                           "os.O_WRONLY | os.O_CREAT)")
            self.write(b"first")
            self.writer.do("os.fsync(fd)")
            for node, reader in zip((1, 2), self.readers):
                with self.subTest(f"{kind} on n{node}"):
                    reader.do(f"fd = os.open({str(self.path(node, kind, 'a'))!r}, os.O_RDONLY)")
                    self.assertEqual(reader.do("os.read(fd, 100)"), b"first")
                    self.assertEqual(reader.do("os.read(fd, 100)", timeout=10), b"")
                    reader.do("os.close(fd)")

    def test_5_4_a_reader_in_the_writers_session_does_not_wait(self):
        path = str(self.path(1, "ephemeral", "a"))
        self.writer.do(f"fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT)")
        self.write(b"first")
        self.assertEqual(self.writer.do(f"open({path!r}, 'rb').read()", timeout=10), b"first")
        code = f"subprocess.run(['cat', {path!r}], capture_output=True, timeout=10).stdout"
        self.assertEqual(self.writer.do(code, timeout=20), b"first")
        # One of another session does wait.
        (reader, _) = self.readers
        reader.start(f"open({path!r}, 'rb').read()")
        self.assertFalse(reader.answered())
        self.writer.do("os.close(fd)")
        self.assertEqual(reader.result(), b"first")

    def test_5_5_a_write_behind_the_followers_gives_them_eio(self):
        for kind in ("ephemeral",):
            with self.subTest(kind):
                self.begin(kind, b"0123456789")
                self.start_reading()
                self.writer.do("os.pwrite(fd, b'x', 3)")
                for reader in self.readers:
                    with self.fails(errno.EIO):
                        reader.result()
                    reader.do("os.close(fd)")
                self.writer.do("os.close(fd)")
                self.assertEqual(self.path(2, kind, "a").read_bytes(), b"012x456789")


if __name__ == "__main__":
    unittest.main()
