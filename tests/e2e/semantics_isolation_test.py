"""SEMANTICS.md, sections 8 (isolation) and 9 (what differs); and that nothing of it lacks a test."""

import ctypes
import errno
import os
import pathlib
import re
import socket
import struct
import unittest

from harness import (KINDS, ROOT, ClusterTest, ExtraNode, run, set_xattr, wait_until)

libc = ctypes.CDLL(None, use_errno=True)


class Everything(unittest.TestCase):

    def test_every_statement_has_a_test(self):
        stated = set(re.findall(r"^- \*\*(\d+\.\d+)\*\*", (ROOT / "SEMANTICS.md").read_text(),
                                re.MULTILINE))
        tested = set()
        for path in pathlib.Path(__file__).parent.glob("semantics_*test.py"):
            for name in re.findall(r"^    def test_(\w+)\(", path.read_text(), re.MULTILINE):
                # A test of several statements has them joined: test_6_1_and_6_2_…
                while found := re.match(r"(?:and_)?(\d+)_(\d+)_", name):
                    tested.add(f"{found[1]}.{found[2]}")
                    name = name[found.end():]
        self.assertGreater(len(stated), 40)
        self.assertEqual(stated - tested, set(), "these statements have no test")
        self.assertEqual(tested - stated, set(), "these tests have no statement")


def handle_of(path):
    """The file handle of a path, as name_to_handle_at gives it."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    if libc.name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(ctypes.c_int()), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return handle


def open_handle(mount, handle):
    """Opens a handle through a mount."""
    directory = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = libc.open_by_handle_at(directory, handle, os.O_RDONLY)
        if fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return fd
    finally:
        os.close(directory)


class Isolation(ClusterTest):

    def assert_out_of_reach(self, mount, path):
        """What is at path cannot be opened by its handle through another mount."""
        handle = handle_of(path)
        os.close(open_handle(self.c.n(2), handle))  # the handle is good
        with self.fails(errno.ESTALE, errno.ENOENT, errno.EACCES, errno.EPERM):
            os.close(open_handle(mount, handle))

    def test_8_1_volumes_share_nothing(self):
        self.c.f3("volume", "create", "team")
        secret = self.path(1, "durable", "secret")
        secret.write_text("of default")
        with ExtraNode(self.c, source="team") as team:
            self.assertEqual(os.listdir(team.point), [])
            (team.point / "mine").write_text("of team")
            (team.point / self._name).mkdir()
            self.assertEqual(os.listdir(team.point / self._name), [])
            self.assertFalse((self.c.n(1) / "mine").exists())
            for call in (os.link, os.rename):
                with self.fails(errno.EXDEV):
                    call(secret, team.point / "stolen")
            self.assert_out_of_reach(team.point, secret)
            self.assert_out_of_reach(team.point, secret.parent)

    def test_8_2_a_mount_of_a_subtree_cannot_reach_what_is_outside(self):
        inside, outside = self.path(1, "durable", "inside"), self.path(1, "durable", "outside")
        inside.mkdir()
        (inside / "a").write_text("inside")
        outside.write_text("outside")
        os.symlink("../outside", inside / "link")
        with ExtraNode(self.c, source=f"default/{self._name}/durable/inside") as part:
            self.assertEqual(sorted(os.listdir(part.point)), ["a", "link"])
            self.assertEqual((part.point / "a").read_text(), "inside")
            self.assertFalse((part.point / "link").exists())
            self.assertFalse((part.point / ".." / "outside").exists())
            os.close(open_handle(part.point, handle_of(inside / "a")))
            self.assert_out_of_reach(part.point, outside)
            self.assert_out_of_reach(part.point, outside.parent)

    def test_8_3_a_read_only_mount_changes_nothing(self):
        directory = self.path(1, "durable")
        (directory / "a").write_text("a")
        (directory / "d").mkdir()
        os.setxattr(directory / "a", "user.x", b"x")
        with ExtraNode(self.c, "ro") as extra:
            base = extra.point / self._name / "durable"
            a, new = base / "a", base / "new"
            before = os.stat(a)
            changes = (lambda: a.write_text("b"), lambda: os.open(a, os.O_RDWR),
                       lambda: os.open(new, os.O_CREAT | os.O_WRONLY), lambda: new.mkdir(),
                       lambda: os.open(base, os.O_TMPFILE | os.O_RDWR),
                       lambda: os.unlink(a), lambda: os.rmdir(base / "d"),
                       lambda: os.rename(a, new), lambda: os.link(a, new),
                       lambda: os.symlink("x", new), lambda: os.mkfifo(new),
                       lambda: os.chmod(a, 0o600), lambda: os.chown(a, 1, 1),
                       lambda: os.utime(a), lambda: os.truncate(a, 0),
                       lambda: os.setxattr(a, "user.y", b""), lambda: set_xattr(base, "ttl", "1"),
                       lambda: os.removexattr(a, "user.x"))
            for i, change in enumerate(changes):
                with self.subTest(i), self.fails(errno.EROFS):
                    change()
            self.assertEqual(a.read_text(), "a")
            self.assertEqual(os.stat(a), before)
            self.assertEqual(sorted(os.listdir(base)), ["a", "d"])
            (directory / "a").write_text("changed elsewhere")
            self.assertEqual(a.read_text(), "changed elsewhere")

    def test_8_4_data_is_not_served_to_who_has_no_capability(self):
        data = os.urandom(16) * 4096
        self.path(1, "ephemeral", "a").write_bytes(data)
        info = self.c.stat(self.path(1, "ephemeral", "a"))
        node = self.c.node(1)
        table = run("ip", "netns", "exec", node["netns"], "cat", "/proc/net/tcp").stdout
        listening = [line.split() for line in table.splitlines() if " 0A " in line]
        ports = {int(words[1].split(":")[1], 16) for words in listening}
        self.assertTrue(ports)
        ask = struct.pack("<QQ", info["ino"], info["incarnation"])
        for port in ports:
            with socket.create_connection((node["address"], port), timeout=5) as strange:
                strange.settimeout(1)
                answer = b""
                try:
                    for piece in (ask, b"\0" * 64 + ask * 100, os.urandom(8192)):
                        strange.sendall(piece)
                        answer += strange.recv(1 << 16)
                except OSError:
                    pass  # nothing said, or hung up on
                self.assertNotIn(data[:16], answer)
        self.assertEqual(self.path(2, "ephemeral", "a").read_bytes(), data)

    def test_8_5_another_secret_is_refused(self):
        self.path(1, "durable", "a").write_text("a")
        secret = self.c.dir.parent / "other-secret"
        good = (self.c.dir / "run" / "secret").read_bytes()
        secret.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        secret.chmod(0o600)
        server = self.c.config()["metadata"]
        asked = [self.c.f3("volume", "list", "--server", server, "--secret", s, check=False,
                           timeout=60)
                 for s in (self.c.dir / "run" / "secret", secret)]
        self.assertEqual([done.returncode for done in asked], [0, 1], asked[1].stderr)
        self.assertNotIn("default", asked[1].stdout)
        stranger = ExtraNode(self.c, secret=secret)
        stranger.start()
        try:
            wait_until(lambda: stranger.process.poll() is not None, timeout=60,
                       what="the end of an agent that was refused")
            self.assertNotEqual(stranger.process.poll(), 0)
            self.assertEqual(os.listdir(stranger.point), [])
        finally:
            stranger.stop()


class Differences(ClusterTest):

    def test_9_1_no_shared_mapping_while_another_node_writes(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.path(1, kind, "a").write_bytes(b"x" * 10_000)
                writer = self.fd(self.path(1, kind, "a"), os.O_RDWR)
                (worker,) = self.workers(1)
                worker.do(f"fd = os.open({str(self.path(2, kind, 'a'))!r}, os.O_RDWR)")
                with self.fails(errno.ENODEV):
                    worker.do("mapped = mmap.mmap(fd, 10_000, mmap.MAP_SHARED)")
                worker.do("os.close(fd)")
                os.close(writer)

                def mapped():
                    worker.do(f"fd = os.open({str(self.path(2, kind, 'a'))!r}, os.O_RDONLY)")
                    try:
                        worker.do("mapped = mmap.mmap(fd, 10_000, mmap.MAP_SHARED, mmap.PROT_READ)")
                        return True
                    except OSError as error:
                        self.assertEqual(error.errno, errno.ENODEV)
                        worker.do("os.close(fd)")
                wait_until(mapped, what="a mapping after the other node has closed")
                self.assertEqual(worker.do("mapped[:3]"), b"xxx")

    def test_9_1_sqlite_works_in_wal_mode_on_one_node_and_in_rollback_mode_across(self):
        for mode, nodes in (("wal", (1, 1, 1)), ("delete", (1, 2, 3))):
            with self.subTest(mode):
                workers = self.workers(3)
                for node, worker in zip(nodes, workers):
                    path = str(self.path(node, "durable", f"{mode}.db"))
                    worker.do("import sqlite3")
                    worker.do(f"base = sqlite3.connect({path!r}, timeout=60, isolation_level=None)")
                    worker.do(f"mode = base.execute('pragma journal_mode={mode}').fetchone()[0]")
                    self.assertEqual(worker.do("mode"), mode)
                    worker.do("created = base.execute('create table if not exists t (a, b)')")
                for i, worker in enumerate(workers):
                    worker.start(f"for k in range(15): base.execute('insert into t values "
                                 f"(?, (select count(*) from t))', ({i},))")
                for worker in workers:
                    worker.result(60)
                rows = workers[0].do("base.execute('select b from t order by b').fetchall()")
                self.assertEqual(rows, [(i,) for i in range(45)])
                check = workers[1].do("base.execute('pragma integrity_check').fetchall()")
                self.assertEqual(check, [("ok",)])
                for worker in workers:
                    worker.do("base.close()")

    def test_9_2_an_older_reader_sees_old_or_new_bytes_and_a_new_open_sees_the_new(self):
        for kind in KINDS:
            self.path(1, kind, "a").write_bytes(b"o" * 100_000)
            reader = self.fd(self.path(2, kind, "a"))
            self.assertEqual(os.pread(reader, 4096, 0), b"o" * 4096)
            with open(self.path(1, kind, "a"), "r+b") as file:
                file.write(b"n" * 100_000)
            seen = os.pread(reader, 100_001, 0)
            self.assertEqual(len(seen), 100_000)
            self.assertLessEqual(set(seen), set(b"on"))
            self.assertEqual(self.path(2, kind, "a").read_bytes(), b"n" * 100_000)

    def test_9_3_reading_does_not_change_access_times(self):
        for kind in KINDS:
            self.path(1, kind, "a").write_bytes(b"x" * 10_000)
            os.utime(self.path(1, kind, "a"), ns=(10**18, 2 * 10**18))
            for node in (1, 2, 3):
                for _ in range(2):
                    self.path(node, kind, "a").read_bytes()
                    os.listdir(self.path(node, kind))
                for looked in (1, 2, 3):
                    self.assertEqual(os.stat(self.path(looked, kind, "a")).st_atime_ns, 10**18)

    def rot_until(self, found):
        """Puts one wrong bit in the home of one ephemeral file of n1 after the other.

        Until found(name) is true. Checksums are made in the background some time after a file is
        sealed, so each file that is harmed is older than the one before.
        """
        contents = []

        def attempt():
            contents.append(os.urandom(100_000))
            path = self.path(1, "ephemeral", f"f{len(contents) - 1}")
            path.write_bytes(contents[-1])
            if len(contents) % 2 == 1:
                return False
            i = len(contents) // 2 - 1
            data = contents[i]
            (rotten,) = [p for p in (self.c.tier(1) / "objects").rglob("*")
                         if p.is_file() and data[:64] in p.read_bytes()]
            with open(rotten, "r+b") as file:
                file.seek(rotten.read_bytes().index(data[:64]) + 50_000)
                file.write(bytes([data[50_000] ^ 1]))
            return found(f"f{i}")
        wait_until(attempt, timeout=40, what="rot that is found", interval=0.3)

    def test_9_5_several_nodes_rename_one_file_to_one_name(self):
        workers = self.workers(3)
        for i in range(30):
            self.path(1, "ephemeral", "a").write_text(str(i))
            for node, worker in enumerate(workers, 1):
                old, new = (str(self.path(node, "ephemeral", name)) for name in ("a", "b"))
                worker.start(f"""if True:
                    told = 0
                    try:
                        os.rename({old!r}, {new!r})
                    except OSError as error:
                        told = error.errno
                """)
            for worker in workers:
                worker.result()
            codes = [worker.do("told") for worker in workers]
            self.assertIn(0, codes)
            self.assertLessEqual(set(codes), {0, errno.ENOENT})
            for node in (1, 2, 3):
                self.assertFalse(self.path(node, "ephemeral", "a").exists())
                self.assertEqual(self.path(node, "ephemeral", "b").read_text(), str(i))

    def test_9_4_rot_is_found_by_fsck(self):
        self.assertEqual(self.c.damage(), [])
        self.rot_until(lambda _: len(self.c.damage()) == 1)

    def test_9_4_rot_is_found_by_nodes_that_pull(self):
        def refused(name):
            try:
                data = self.path(2, "ephemeral", name).read_bytes()
                self.assertTrue(data.strip(b"\0"), "zeros instead of an error")
                return False
            except OSError as error:
                self.assertEqual(error.errno, errno.EIO)
                return True
        self.rot_until(refused)


if __name__ == "__main__":
    unittest.main()
