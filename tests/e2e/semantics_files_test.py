"""SEMANTICS.md, section 7 (names, files and locks)."""

import ctypes
import errno
import fcntl
import os
import signal
import socket
import stat
import struct
import unittest

from harness import KINDS, ClusterTest, run

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
KEEP_SIZE, PUNCH_HOLE = 1, 2
AT_SYMLINK_FOLLOW = 0x400
USER = 12345  # who is nobody special


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Files(ClusterTest):

    def setUp(self):
        super().setUp()
        os.chmod(self.c.dir.parent, 0o755)

    def as_user(self, code, user=USER, groups=()):
        """A worker that runs as another user; runs code in it and returns what it says."""
        (worker,) = self.workers(1)
        worker.do(f"os.setgroups({list(groups)!r})")
        worker.do(f"os.setgid({user})")
        worker.do(f"os.setuid({user})")
        return worker.do(code)

    # ---- 7.1 ----

    def test_7_1_hard_links(self):
        for kind in KINDS:
            self.path(1, kind, "a").write_text("one")
            os.link(self.path(1, kind, "a"), self.path(1, kind, "b"))
            self.path(2, kind, "b").write_text("two")
            self.assertEqual(self.path(3, kind, "a").read_text(), "two")
            for node in (1, 2, 3):
                a, b = (os.stat(self.path(node, kind, name)) for name in "ab")
                self.assertEqual((a.st_ino, a.st_nlink), (b.st_ino, 2))
            os.unlink(self.path(3, kind, "a"))
            self.assertEqual(os.stat(self.path(1, kind, "b")).st_nlink, 1)
            self.assertEqual(self.path(1, kind, "b").read_text(), "two")

    def test_7_1_symbolic_links(self):
        self.path(1, "durable", "file").write_text("x")
        targets = {"relative": "file", "dangling": "missing", "long": "d/" * 2000 + "x"}
        for name, target in targets.items():
            os.symlink(target, self.path(1, "durable", name))
        for node in (1, 2, 3):
            for name, target in targets.items():
                self.assertEqual(os.readlink(self.path(node, "durable", name)), target)
                self.assertEqual(os.lstat(self.path(node, "durable", name)).st_size, len(target))
            self.assertEqual(self.path(node, "durable", "relative").read_text(), "x")
            self.assertFalse(self.path(node, "durable", "dangling").exists())

    def test_7_1_fifos_sockets_and_device_nodes(self):
        base = self.path(1, "durable")
        os.mkfifo(base / "fifo")
        os.mknod(base / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(base / "disk", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
        os.chdir(base)  # a socket's path has at most 107 bytes
        try:
            with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
                server.bind("socket")
                server.listen()
                client.connect("socket")
        finally:
            os.chdir("/")
        reader, writer = self.workers(2)
        reader.start(f"open({str(base / 'fifo')!r}, 'rb').read()")
        writer.do(f"open({str(base / 'fifo')!r}, 'wb').write(b'through')")
        self.assertEqual(reader.result(), b"through")
        for node in (1, 2, 3):
            kinds = {name: stat.S_IFMT(os.stat(self.path(node, "durable", name)).st_mode)
                     for name in ("fifo", "null", "disk", "socket")}
            self.assertEqual(kinds, {"fifo": stat.S_IFIFO, "null": stat.S_IFCHR,
                                     "disk": stat.S_IFBLK, "socket": stat.S_IFSOCK})
            device = os.stat(self.path(node, "durable", "disk")).st_rdev
            self.assertEqual(device, os.makedev(7, 200))

    def test_7_1_sparse_files_above_4_gib(self):
        for kind in KINDS:
            with self.subTest(kind):
                with open(self.path(1, kind, "a"), "wb") as file:
                    file.truncate(6 << 30)
                    file.seek((5 << 30) + 7)
                    file.write(b"far out")
                for node in (1, 2, 3):
                    info = os.stat(self.path(node, kind, "a"))
                    self.assertEqual(info.st_size, 6 << 30)
                    self.assertLess(info.st_blocks * 512, 64 << 20)
                    fd = self.fd(self.path(node, kind, "a"))
                    self.assertEqual(os.pread(fd, 9, (5 << 30) + 6), b"\0far out\0")
                    self.assertEqual(os.pread(fd, 9, 3 << 30), bytes(9))
                    os.close(fd)

    # ---- 7.2, 7.3 ----

    def test_7_2_an_unlinked_file_lives_until_its_last_close(self):
        for kind in KINDS:
            self.path(1, kind, "a").write_bytes(b"kept" * 50_000)
            fds = [self.fd(self.path(node, kind, "a"), os.O_RDWR if node == 1 else os.O_RDONLY)
                   for node in (1, 2, 3)]
            os.unlink(self.path(2, kind, "a"))
            for node, fd in zip((1, 2, 3), fds):
                self.assertFalse(self.path(node, kind, "a").exists())
                self.assertEqual(os.pread(fd, 300_000, 0), b"kept" * 50_000, (kind, node))
                self.assertEqual(os.fstat(fd).st_nlink, 0, (kind, node))
            os.pwrite(fds[0], b"more", 0)
            os.fsync(fds[0])
            self.assertEqual(os.pread(fds[0], 8, 0), b"morekept")
            for fd in fds:
                os.close(fd)
            self.path(3, kind, "a").write_text("another")
            self.assertEqual(self.path(1, kind, "a").read_text(), "another")

    def test_7_3_names_have_at_most_255_bytes(self):
        for name in ("x" * 255, "ü" * 127 + "x"):
            self.path(1, "durable", name).write_text("x")
            self.assertEqual(self.path(2, "durable", name).read_text(), "x")
        for name in ("x" * 256, "ü" * 128):
            path = self.path(1, "durable", name)
            other = self.path(1, "durable", "other")
            other.touch()
            for call in (lambda: path.touch(), lambda: path.mkdir(), lambda: os.rename(other, path),
                         lambda: os.symlink("x", path), lambda: os.link(other, path),
                         lambda: os.stat(path), lambda: os.mkfifo(path)):
                with self.fails(errno.ENAMETOOLONG):
                    call()

    # ---- 7.4 ----

    def lockers(self, count=2):
        """Workers that have a file open on nodes 1, 2, …"""
        self.path(1, "durable", "lock").touch()
        workers = self.workers(count)
        for node, worker in enumerate(workers, 1):
            worker.do(f"fd = os.open({str(self.path(node, 'durable', 'lock'))!r}, os.O_RDWR)")
        return workers

    LOCKS = ("fcntl.lockf(fd, fcntl.{}, 10, 0)", "fcntl.flock(fd, fcntl.{})")

    def test_7_4_locks_work_across_nodes(self):
        one, two = self.lockers()
        for lock in self.LOCKS:
            one.do(lock.format("LOCK_EX"))
            with self.fails(errno.EAGAIN, errno.EACCES):
                two.do(lock.format("LOCK_EX | fcntl.LOCK_NB"))
            two.start(lock.format("LOCK_EX"))
            self.assertFalse(two.answered())
            one.do(lock.format("LOCK_UN"))
            two.result()
            two.do(lock.format("LOCK_UN"))
            for worker in (one, two):
                worker.do(lock.format("LOCK_SH"))
            with self.fails(errno.EAGAIN, errno.EACCES):
                one.do(lock.format("LOCK_EX | fcntl.LOCK_NB"))
            for worker in (one, two):
                worker.do(lock.format("LOCK_UN"))

    def test_7_4_ranges_are_separate_and_the_holder_is_told(self):
        one, two = self.lockers()
        one.do("fcntl.lockf(fd, fcntl.LOCK_EX, 10, 0)")
        two.do("fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)")
        ask = ("struct.unpack('hhqqi', fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack('hhqqi', "
               "fcntl.F_WRLCK, 0, 5, 1, 0)))[:4]")
        self.assertEqual(two.do(ask), (fcntl.F_WRLCK, 0, 0, 10))
        one.do("fcntl.lockf(fd, fcntl.LOCK_UN, 5, 0)")  # half of it
        two.do("fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)")
        with self.fails(errno.EAGAIN, errno.EACCES):
            two.do("fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 7)")

    def test_7_4_a_waiting_lock_can_be_interrupted(self):
        for lock in self.LOCKS:
            one, two = self.lockers()
            one.do(lock.format("LOCK_EX"))
            two.do("def stop(*_): raise InterruptedError(errno.EINTR, 'stopped')")
            two.do("previous = signal.signal(signal.SIGUSR1, stop)")
            two.start(lock.format("LOCK_EX"))
            self.assertFalse(two.answered())
            os.kill(two.pid, signal.SIGUSR1)
            with self.fails(errno.EINTR):
                two.result(10)
            one.do(lock.format("LOCK_UN"))
            one.do(lock.format("LOCK_EX | fcntl.LOCK_NB"))  # nothing is left of the wait

    def test_7_4_locks_of_a_dead_process_are_released(self):
        for lock in self.LOCKS:
            one, two = self.lockers()
            one.do(lock.format("LOCK_EX"))
            two.start(lock.format("LOCK_EX"))
            self.assertFalse(two.answered())
            one.kill()
            two.result(20)

    def test_7_4_locks_of_a_dead_node_are_released(self):
        for lock in self.LOCKS:
            one, two = self.lockers()
            two.do(lock.format("LOCK_EX"))
            one.start(lock.format("LOCK_EX"))
            self.assertFalse(one.answered())
            self.c.kill("n2")
            one.result(60)
            self.c.wait_healthy()

    # ---- 7.5 ----

    def test_7_5_acls(self):
        path = self.path(1, "durable", "a")
        path.write_text("secret")
        os.chmod(path, 0o600)
        seen = self.path(2, "durable", "a")
        with self.fails(errno.EACCES):
            self.as_user(f"open({str(seen)!r}).read()")
        run("setfacl", "-m", f"u:{USER}:r", path)
        self.assertEqual(self.as_user(f"open({str(seen)!r}).read()"), "secret")
        with self.fails(errno.EACCES):
            self.as_user(f"open({str(seen)!r}, 'a')")
        self.assertIn(f"user:{USER}:r--", run("getfacl", "-n", seen).stdout)
        self.assertEqual(os.stat(seen).st_mode & 0o777, 0o640)  # the mask is the group's mode
        os.chmod(path, 0o600)
        with self.fails(errno.EACCES):
            self.as_user(f"open({str(seen)!r}).read()")

    def test_7_5_default_acls_are_inherited_and_replace_the_umask(self):
        run("setfacl", "-d", "-m", f"u:{USER}:rwx,g::rwx,o::-", self.path(1, "durable"))
        old = os.umask(0o077)
        try:
            self.path(2, "durable", "sub").mkdir()
            self.path(2, "durable", "sub", "a").touch()
            fd = self.fd(self.path(1, "ephemeral", "b"), os.O_CREAT | os.O_WRONLY, 0o666)
        finally:
            os.umask(old)
        acl = run("getfacl", "-n", self.path(3, "durable", "sub", "a")).stdout
        self.assertIn(f"user:{USER}:rwx", acl)
        self.assertIn("mask::rw-", acl)
        self.assertIn("other::---", acl)
        self.assertIn("default:user", run("getfacl", "-n", self.path(3, "durable", "sub")).stdout)
        self.assertEqual(os.fstat(fd).st_mode & 0o777, 0o600)

    def test_7_5_xattrs(self):
        path, seen = self.path(1, "durable", "a"), self.path(2, "durable", "a")
        path.touch()
        for name in ("user.x", "trusted.x", "security.x"):
            os.setxattr(path, name, b"\0value", os.XATTR_CREATE)
            self.assertEqual(os.getxattr(seen, name), b"\0value")
            self.assertIn(name, os.listxattr(seen))
            listed = self.as_user(f"os.listxattr({str(seen)!r})")
            self.assertEqual(name in listed, name != "trusted.x")
            with self.fails(errno.EEXIST):
                os.setxattr(seen, name, b"", os.XATTR_CREATE)
            os.setxattr(seen, name, b"", os.XATTR_REPLACE)
            self.assertEqual(os.getxattr(path, name), b"")
            os.removexattr(seen, name)
            with self.fails(errno.ENODATA):
                os.getxattr(path, name)
            with self.fails(errno.ENODATA):
                os.setxattr(path, name, b"", os.XATTR_REPLACE)
        with self.fails(errno.EPERM):
            self.as_user(f"os.setxattr({str(path)!r}, 'trusted.x', b'')")

    def test_7_5_setgid_and_sticky_directories(self):
        shared = self.path(1, "durable", "shared")
        shared.mkdir()
        os.chown(shared, 0, 777)
        os.chmod(shared, 0o3777)
        seen = self.path(2, "durable", "shared")
        self.as_user(f"open({str(seen / 'mine')!r}, 'w').close()")
        self.as_user(f"os.mkdir({str(seen / 'dir')!r})")
        mine, made = os.stat(shared / "mine"), os.stat(shared / "dir")
        self.assertEqual((mine.st_uid, mine.st_gid), (USER, 777))
        self.assertEqual((made.st_gid, bool(made.st_mode & stat.S_ISGID)), (777, True))
        for code in (f"os.unlink({str(shared / 'mine')!r})", f"os.rmdir({str(shared / 'dir')!r})",
                     f"os.rename({str(shared / 'mine')!r}, {str(shared / 'x')!r})"):
            with self.fails(errno.EPERM, errno.EACCES):
                self.as_user(code, user=USER + 1)
        self.as_user(f"os.unlink({str(shared / 'mine')!r})")

    def test_7_5_umask_and_setuid_clearing(self):
        base = self.path(1, "durable")
        old = os.umask(0o027)
        try:
            os.close(os.open(base / "a", os.O_CREAT | os.O_WRONLY, 0o777))
            os.mkdir(base / "d", 0o777)
        finally:
            os.umask(old)
        for name in "ad":
            self.assertEqual(os.stat(self.path(2, "durable", name)).st_mode & 0o7777, 0o750)
        for kind in KINDS:
            path, seen = self.path(1, kind, "suid"), self.path(2, kind, "suid")

            def fresh():
                path.write_bytes(b"x" * 10)
                os.chown(path, 0, USER)
                os.chmod(path, 0o6777)
                self.assertEqual(os.stat(seen).st_mode & 0o7777, 0o6777)
            changes = {"write": "with open({!r}, 'ab') as file: file.write(b'x')",
                       "truncate": "os.truncate({!r}, 3)",
                       "open": "open({!r}, 'wb').close()"}
            for name, change in changes.items():
                for node in (1, 2):
                    fresh()
                    self.as_user(change.format(str(self.path(node, kind, "suid"))))
                    modes = [oct(os.stat(looked).st_mode & 0o7777) for looked in (path, seen)]
                    with self.subTest(f"{kind}, {name} on n{node}"):
                        self.assertEqual(modes, ["0o777", "0o777"])
            fresh()
            os.chown(path, USER, USER)
            self.assertEqual(os.stat(seen).st_mode & 0o6000, 0)

    def test_7_5_times_have_nanoseconds(self):
        for kind in KINDS:
            path = self.path(1, kind, "a")
            path.touch()
            os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
            for node in (1, 2, 3):
                info = os.stat(self.path(node, kind, "a"))
                self.assertEqual((info.st_atime_ns, info.st_mtime_ns),
                                 (1_234_567_890_123_456_789, 987_654_321_987_654_321))
            before = os.stat(path).st_ctime_ns
            os.chmod(path, 0o600)
            self.assertGreater(os.stat(self.path(2, kind, "a")).st_ctime_ns, before)
            path.write_text("x")
            self.assertGreater(os.stat(self.path(2, kind, "a")).st_mtime_ns, before)

    # ---- 7.6 to 7.10 ----

    def test_7_6_tmpfiles_have_no_name_until_linked(self):
        for kind in KINDS:
            fd = self.fd(self.path(1, kind), os.O_TMPFILE | os.O_RDWR)
            os.write(fd, b"hidden" * 1000)
            self.assertEqual(os.listdir(self.path(1, kind)), [])
            self.assertEqual(os.fstat(fd).st_nlink, 0)
            self.assertEqual(0, libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100,
                                            os.fsencode(self.path(1, kind, "a")),
                                            AT_SYMLINK_FOLLOW), os.strerror(ctypes.get_errno()))
            os.close(fd)
            self.assertEqual(self.path(2, kind, "a").read_bytes(), b"hidden" * 1000)
            fd = self.fd(self.path(1, kind), os.O_TMPFILE | os.O_RDWR)
            os.write(fd, b"gone")
            inode = os.fstat(fd).st_ino
            os.close(fd)
            self.assertEqual(os.listdir(self.path(2, kind)), ["a"])
            self.assertNotEqual(os.stat(self.path(1, kind, "a")).st_ino, inode)
        self.assertEqual(self.c.damage(), [])

    def test_7_7_fallocate(self):
        for kind in KINDS:
            fd = self.fd(self.path(1, kind, "a"), os.O_RDWR | os.O_CREAT)
            os.write(fd, b"x" * 300_000)
            fallocate(fd, KEEP_SIZE, 0, 500_000)
            self.assertEqual(os.fstat(fd).st_size, 300_000)
            fallocate(fd, 0, 0, 500_000)
            self.assertEqual(os.fstat(fd).st_size, 500_000)
            fallocate(fd, PUNCH_HOLE | KEEP_SIZE, 65_536, 65_536)
            os.close(fd)
            expected = (b"x" * 65_536 + bytes(65_536) + b"x" * (300_000 - 131_072)).ljust(
                500_000, b"\0")
            for node in (1, 2, 3):
                self.assertEqual(self.path(node, kind, "a").read_bytes(), expected, (kind, node))

    def test_7_7_seek_data_and_seek_hole(self):
        for kind in KINDS:
            fd = self.fd(self.path(1, kind, "a"), os.O_RDWR | os.O_CREAT)
            os.pwrite(fd, b"x" * 65_536, 1 << 20)
            os.ftruncate(fd, 4 << 20)
            os.fsync(fd)
            for node, reader in ((1, fd), (2, self.fd(self.path(2, kind, "a")))):
                with self.subTest(f"{kind} on n{node}"):
                    data = os.lseek(reader, 0, os.SEEK_DATA)
                    hole = os.lseek(reader, 1 << 20, os.SEEK_HOLE)
                    # Everything may be data; what was written must be.
                    self.assertLessEqual(data, 1 << 20)
                    self.assertGreaterEqual(hole, (1 << 20) + 65_536)
                    self.assertLessEqual(hole, 4 << 20)
                    with self.fails(errno.ENXIO):
                        os.lseek(reader, 4 << 20, os.SEEK_DATA)
            self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 1 << 20)
            self.assertEqual(os.lseek(fd, 1 << 20, os.SEEK_HOLE), (1 << 20) + 65_536)
            os.close(fd)

    def test_7_7_copy_file_range(self):
        data = os.urandom(3_000_000)
        for source in KINDS:
            for target in KINDS:
                for node in (1, 2):
                    self.path(1, source, "from").write_bytes(data)
                    in_fd = self.fd(self.path(node, source, "from"))
                    out_fd = self.fd(self.path(node, target, "to"),
                                     os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                    copied = 0
                    while copied < 2_000_000:
                        more = os.copy_file_range(in_fd, out_fd, 2_000_000 - copied,
                                                  1000 + copied, 500 + copied)
                        self.assertGreater(more, 0)
                        copied += more
                    os.close(in_fd)
                    os.close(out_fd)
                    self.assertEqual(self.path(3, target, "to").read_bytes(),
                                     bytes(500) + data[1000:2_001_000])

    def test_7_8_open_by_handle(self):
        for kind in KINDS:
            path = self.path(1, kind, "a")
            path.write_text("handled")
            handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
            mount_id = ctypes.c_int()
            self.assertEqual(libc.name_to_handle_at(-100, os.fsencode(path), handle,
                                                    ctypes.byref(mount_id), 0), 0)
            self.forget()
            mount = self.fd(self.c.n(1), os.O_RDONLY | os.O_DIRECTORY)
            fd = libc.open_by_handle_at(mount, handle, os.O_RDONLY)
            self.assertGreaterEqual(fd, 0, os.strerror(ctypes.get_errno()))
            self.assertEqual(os.read(fd, 100), b"handled")
            os.close(fd)

    def forget(self):
        """The kernel forgets the inodes that nobody uses."""
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("2")

    def test_7_9_direct_io_without_alignment(self):
        for kind in KINDS:
            fd = self.fd(self.path(1, kind, "a"), os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            with self.subTest(kind):
                self.assertEqual(os.write(fd, b"1234567" * 1001), 7007)
                self.assertEqual(os.pwrite(fd, b"x" * 13, 3), 13)
                self.assertEqual(os.pread(fd, 20, 1), b"23" + b"x" * 13 + b"34567")
                os.close(fd)
                for node in (1, 2, 3):
                    fd = self.fd(self.path(node, kind, "a"), os.O_RDONLY | os.O_DIRECT)
                    self.assertEqual(os.pread(fd, 20, 1), b"23" + b"x" * 13 + b"34567")
                    os.close(fd)

    def test_7_10_mappings(self):
        for kind in KINDS:
            with self.subTest(kind):
                one, two = self.workers(2)
                path = self.path(1, kind, "a")
                path.write_bytes(b"x" * 100_000)
                for worker in (one, two):
                    worker.do(f"fd = os.open({str(path)!r}, os.O_RDWR)")
                    worker.do("shared = mmap.mmap(fd, 100_000, mmap.MAP_SHARED)")
                one.do("private = mmap.mmap(fd, 100_000, mmap.MAP_PRIVATE)")
                one.do("private[50_000:50_003] = b'own'")
                one.do("shared[10_000:10_003] = b'all'")
                self.assertEqual(two.do("shared[10_000:10_003]"), b"all")
                self.assertEqual(two.do("os.pread(fd, 3, 10_000)"), b"all")
                two.do("os.pwrite(fd, b'new', 20_000)")
                self.assertEqual(one.do("shared[20_000:20_003]"), b"new")
                self.assertEqual(two.do("shared[50_000:50_003]"), b"xxx")
                one.do("shared.flush()")
                for worker in (one, two):
                    worker.do("shared.close(); os.close(fd)")
                expected = bytearray(b"x" * 100_000)
                expected[10_000:10_003], expected[20_000:20_003] = b"all", b"new"
                self.assertEqual(self.path(2, kind, "a").read_bytes(), expected)


if __name__ == "__main__":
    unittest.main()
