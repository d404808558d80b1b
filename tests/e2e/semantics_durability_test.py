"""SEMANTICS.md, sections 2 (durability) and 6 (loss and failure)."""

import errno
import os
import shutil
import signal
import time
import unittest

from harness import Cluster, ClusterTest, run, wait_until

PROCESSES = ("supervise", "n1", "n2", "n3", "meta")


class Durability(ClusterTest):

    def kill_everything(self):
        """SIGKILL to every process of the cluster, then all of it again."""
        for name in PROCESSES:
            self.c.kill(name)
        self.restart()

    def restart(self):
        self.c.down()
        self.c.up()
        self.c.wait_healthy()

    def without_node(self, i):
        """Node i is stopped until the end of the test."""
        self.c.stop_node(i)
        self.addCleanup(self.c.start_node, i)

    def test_2_1_a_closed_durable_file_survives_the_death_of_everything(self):
        files = {f"f{size}": os.urandom(size) for size in (0, 1, 100_000, 4 << 20, 5_000_001)}
        for name, data in files.items():
            self.path(1, "durable", name).write_bytes(data)
        self.kill_everything()
        self.without_node(1)  # what it kept does not count
        for name, data in files.items():
            self.assertEqual(self.path(2, "durable", name).read_bytes(), data, name)

    def test_2_1_a_synced_durable_file_survives_the_death_of_everything(self):
        first, second = os.urandom(3 << 20), os.urandom(100_000)
        (worker,) = self.workers(1)
        worker.do(f"fd = os.open({str(self.path(1, 'durable', 'a'))!r}, os.O_RDWR | os.O_CREAT)")
        worker.do(f"os.write(fd, {first!r})")
        worker.do("os.fsync(fd)")
        worker.do(f"os.pwrite(fd, {second!r}, 1000)")
        worker.do("os.fsync(fd)")
        self.kill_everything()
        self.without_node(1)
        expected = first[:1000] + second + first[101_000:]
        self.assertEqual(self.path(2, "durable", "a").read_bytes(), expected)

    def test_2_2_a_durable_file_is_one_publish_whole_after_a_crash(self):
        size = 3_000_000
        path, done = self.path(1, "durable", "a"), self.c.dir.parent / "done"
        path.write_bytes(b"\0" * size)
        for attempt in range(4):
            # In place with fsync, or anew with O_TRUNC.
            piece = ("os.pwrite(fd, data, 0); os.fsync(fd)" if attempt % 2 else
                     f"open({str(path)!r}, 'wb').write(data)")
            done.write_text("")
            (worker,) = self.workers(1)
            worker.start(f"""if True:
                fd = os.open({str(path)!r}, os.O_RDWR)
                for i in range(1, 100_000):
                    data = bytes([i % 250 + 1]) * {size}
                    {piece}
                    with open({str(done)!r}, "a") as file:
                        file.write(".")
            """)
            wait_until(lambda: len(done.read_text()) > 2 + attempt, what="some publishes")
            self.c.kill("n1")
            worker.kill()
            self.c.wait_healthy()
            for node in (2, 1):
                data = self.path(node, "durable", "a").read_bytes()
                self.assertEqual((len(data), data.count(data[:1])), (size, size), (attempt, node))
                self.assertNotEqual(data[:1], b"\0")

    def test_2_3_names_survive_the_death_of_everything(self):
        for i in range(50):
            self.path(i % 3 + 1, "durable", f"d{i}").mkdir()
            self.path(i % 3 + 1, "ephemeral", f"f{i}").touch()
            self.path(i % 3 + 1, "durable", f"l{i}").symlink_to("x")
        os.rename(self.path(2, "durable", "d1"), self.path(2, "durable", "renamed"))
        for name in ("meta", "supervise", "n1", "n2", "n3"):
            self.c.kill(name)
        self.restart()
        self.assertEqual(set(os.listdir(self.path(1, "ephemeral"))), {f"f{i}" for i in range(50)})
        expected = {f"{kind}{i}" for kind in "dl" for i in range(50)} - {"d1"} | {"renamed"}
        self.assertEqual(set(os.listdir(self.path(3, "durable"))), expected)

    def test_2_5_an_ephemeral_file_survives_its_agents_restart(self):
        files = {f"f{size}": os.urandom(size) for size in (0, 1, 100_000, 5_000_001)}
        for name, data in files.items():
            self.path(2, "ephemeral", name).write_bytes(data)
        self.c.kill("n2")
        self.c.wait_healthy()
        for node in (1, 2, 3):
            for name, data in files.items():
                self.assertEqual(self.path(node, "ephemeral", name).read_bytes(), data)
        self.c.stop_node(2)
        self.c.start_node(2)
        for node in (1, 2, 3):
            for name, data in files.items():
                self.assertEqual(self.path(node, "ephemeral", name).read_bytes(), data)


class OwnFileSystems(ClusterTest):
    """A cluster whose durable store is a small tmpfs and whose metadata is an image of its own."""

    @classmethod
    def make_cluster(cls):
        c = Cluster(nodes=3, start=False)
        c.__enter__()
        cls.addClassCleanup(shutil.rmtree, c._base, ignore_errors=True)
        cls.addClassCleanup(c.destroy)
        try:
            for name in ("durable", "meta"):
                (c.dir / name).mkdir(parents=True)
            run("mount", "-t", "tmpfs", "-o", "size=24M", "f3test", c.dir / "durable")
            cls.addClassCleanup(run, "umount", "-l", c.dir / "durable")
            cls.image = c.dir.parent / "meta.image"
            with open(cls.image, "wb") as file:
                file.truncate(128 << 20)
            run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", cls.image)
            run("mount", "-o", "loop,commit=300", cls.image, c.dir / "meta")
            cls.addClassCleanup(run, "umount", "-l", c.dir / "meta")
            run("rmdir", c.dir / "meta" / "lost+found")
            c.up()
        except BaseException:
            c.f3("down", check=False)
            raise
        cls.addClassCleanup(c.down)
        return c

    @classmethod
    def setUpClass(cls):
        cls.c = cls.make_cluster()

    def test_2_4_fsync_of_a_directory_makes_its_names_durable(self):
        names = {f"f{i}" for i in range(200)}
        for name in names:
            self.path(1, "durable", name).touch()
        directory = self.fd(self.path(1, "durable"))
        os.fsync(directory)
        # What the device has now is what a power cut would leave.
        self.c.kill("meta", signal.SIGSTOP)
        try:
            shutil.copy(self.image, self.image.with_suffix(".cut"))
        finally:
            self.c.kill("meta", signal.SIGCONT)
        os.close(directory)
        point = self.image.with_suffix(".point")
        point.mkdir()
        after = Cluster(nodes=1, start=False)
        with after:
            run("mount", "-o", "loop", self.image.with_suffix(".cut"), point)
            try:
                shutil.copytree(point, after.dir / "meta")
            finally:
                run("umount", point)
            after.up()
            self.assertEqual(set(os.listdir(after.n(1) / self._name / "durable")), names)

    def test_2_6_a_full_durable_store_says_so_and_harms_nothing(self):
        published = os.urandom(2 << 20)
        self.path(1, "durable", "published").write_bytes(published)
        self.path(1, "durable", "ballast").write_bytes(os.urandom(6 << 20))
        data = os.urandom(18 << 20)
        fd = self.fd(self.path(1, "durable", "big"), os.O_RDWR | os.O_CREAT)
        self.assertEqual(os.write(fd, data), len(data))
        with self.fails(errno.ENOSPC):
            os.fsync(fd)
        with self.fails(errno.ENOSPC):
            os.close(os.dup(fd))  # a close is an attempt as well
        rewritten = self.fd(self.path(2, "durable", "published"), os.O_RDWR)
        self.assertEqual(os.pread(rewritten, 3 << 20, 0), published)
        self.assertEqual(self.path(3, "durable", "published").read_bytes(), published)
        os.unlink(self.path(2, "durable", "ballast"))

        def repeated():
            try:
                os.fsync(fd)
                return True
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
        wait_until(repeated, timeout=30, what="room after a file was removed")
        os.close(fd)
        self.assertEqual(self.path(2, "durable", "big").read_bytes(), data)


class Loss(ClusterTest):

    TIME_LIMIT = 120

    def state(self, path):
        return self.c.stat(path)["state"]

    def stopped(self, i):
        """Node i is stopped; started at the end of the test if it still is."""
        self.c.stop_node(i)

        def start():
            if self.c.pid(f"n{i}") is None:
                self.c.start_node(i)
        self.addCleanup(start)

    def wait_for_copy(self, node, path, name):
        """Reads a path until the node has a copy."""
        def copied():
            path.read_bytes()
            return name in self.c.stat(path)["copies"]
        wait_until(copied, what=f"a copy on {node}")

    def assert_eio(self, path, within=15):
        """Reading a path gives EIO in time; not bytes, and it does not hang."""
        (worker,) = self.workers(1)
        begin = time.monotonic()
        try:
            data = worker.do(f"open({str(path)!r}, 'rb').read()", timeout=within)
        except OSError as error:
            self.assertEqual(error.errno, errno.EIO)
            self.assertLess(time.monotonic() - begin, within)
        else:
            zeros = len(data) - len(data.replace(b"\0", b""))
            self.fail(f"{path} gave {len(data)} bytes, {zeros} of them zeros, and no error")

    def test_6_1_and_6_2_unavailable_while_the_node_is_down_and_back_with_it(self):
        data = os.urandom(300_000)
        self.path(2, "ephemeral", "a").write_bytes(data)
        self.stopped(2)
        wait_until(lambda: self.state(self.path(1, "ephemeral", "a")) == "unavailable",
                   timeout=40, what="unavailable")
        self.assertIn("unavailable", self.c.f3("stat", self.path(1, "ephemeral", "a")).stdout)
        self.assert_eio(self.path(1, "ephemeral", "a"))
        self.assert_eio(self.path(3, "ephemeral", "a"))
        self.c.start_node(2)
        for node in (1, 2, 3):
            self.assertEqual(self.path(node, "ephemeral", "a").read_bytes(), data)
        self.assertEqual(self.state(self.path(1, "ephemeral", "a")), "sealed")

    def test_6_1_reading_gives_eio_in_time_when_the_node_hangs(self):
        self.path(2, "ephemeral", "a").write_bytes(os.urandom(30_000_000))
        pid = self.c.kill("n2", signal.SIGSTOP)
        try:
            self.assert_eio(self.path(3, "ephemeral", "a"), within=45)
        finally:
            os.kill(pid, signal.SIGCONT)
            self.c.wait_healthy()

    def test_6_1_reading_gives_eio_in_time_when_the_link_is_cut(self):
        self.path(2, "ephemeral", "a").write_bytes(os.urandom(30_000_000))
        self.c.link(2, up=False)
        try:
            self.assert_eio(self.path(3, "ephemeral", "a"), within=45)
        finally:
            self.c.link(2, up=True)
            self.c.wait_healthy()

    def test_6_2_a_node_that_comes_back_has_its_files(self):
        data = os.urandom(300_000)
        self.path(2, "ephemeral", "a").write_bytes(data)
        self.stopped(2)
        self.c.start_node(2)
        for node in (1, 2, 3):
            self.assertEqual(self.path(node, "ephemeral", "a").read_bytes(), data)

    def test_6_3_a_node_with_another_tier_has_lost_its_files(self):
        for name in "abc":
            self.path(2, "ephemeral", name).write_bytes(os.urandom(100_000))
        self.stopped(2)
        for entry in self.c.tier(2).iterdir():
            if entry.name != "memory":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.c.start_node(2)
        for name in "abc":
            self.assertEqual(self.state(self.path(1, "ephemeral", name)), "lost")
        for node in (1, 2, 3):
            self.assert_eio(self.path(node, "ephemeral", "a"))
        os.unlink(self.path(1, "ephemeral", "a"))
        for node, name in ((1, "b"), (2, "c")):
            self.path(node, "ephemeral", name).write_text("anew")
            for reader in (1, 2, 3):
                self.assertEqual(self.path(reader, "ephemeral", name).read_text(), "anew")

    def test_6_4_a_copy_serves_while_the_home_is_down(self):
        data = os.urandom(3_000_000)
        self.path(2, "ephemeral", "a").write_bytes(data)
        self.wait_for_copy(3, self.path(3, "ephemeral", "a"), "n3")
        self.stopped(2)
        for node in (1, 3):
            self.assertEqual(self.path(node, "ephemeral", "a").read_bytes(), data, node)

    def test_6_5_a_corrupted_durable_block_gives_eio(self):
        before = {p for p in self.c.durable().rglob("*") if p.is_file()}
        data = os.urandom(3_000_000)
        self.path(2, "durable", "a").write_bytes(data)
        blocks = [p for p in self.c.durable().rglob("*") if p.is_file() and p not in before]
        self.assertTrue(blocks)
        for block in blocks:
            with open(block, "r+b") as file:
                file.seek(block.stat().st_size // 2)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 1]))
        self.stopped(2)  # which has a copy
        self.assert_eio(self.path(1, "durable", "a"))
        fd = self.fd(self.path(3, "durable", "a"))
        for offset in range(0, len(data), 100_000):
            try:
                piece = os.pread(fd, 100_000, offset)
                self.assertEqual(piece, data[offset:offset + 100_000])
            except OSError as error:
                self.assertEqual(error.errno, errno.EIO)

    def test_6_6_calls_wait_while_the_metadata_server_is_away_and_apply_once(self):
        workers = self.workers(2)
        done = [self.c.dir.parent / f"done{i}" for i in range(2)]
        for path in done:
            path.touch()
        for node, worker in enumerate(workers, 1):
            worker.start(f"""if True:
                failed = []
                os.chdir({str(self.path(node, 'durable'))!r})
                with open({str(done[node - 1])!r}, "w") as log:
                    for i in range(400):
                        name = f"{{i}}.{node}"
                        try:
                            os.mkdir(name)
                            os.rename(name, name + ".d")
                            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                            os.unlink(name)
                        except OSError as error:
                            failed.append((name, error.errno))
                        print(i, file=log, flush=True)
                os.chdir("/")
            """)
        for k in range(3):
            wait_until(lambda: min(len(d.read_text().split()) for d in done)
                       > 20 + 100 * k, what="some progress")
            self.c.kill("meta")
            wait_until(lambda: self.c.pid("meta"), what="a new metadata server")
        for worker in workers:
            worker.result(60)
            self.assertEqual(worker.do("failed"), [])
        expected = {f"{i}.{node}.d" for i in range(400) for node in (1, 2)}
        self.assertEqual(set(os.listdir(self.path(3, "durable"))), expected)

    def test_6_6_but_not_for_ever(self):
        (worker,) = self.workers(1)
        path = str(self.path(1, "durable", "a"))
        pid = self.c.kill("meta", signal.SIGSTOP)
        try:
            begin = time.monotonic()
            worker.start(f"os.mkdir({path!r})")
            with self.assertRaises(OSError):
                worker.result(60)
            self.assertGreater(time.monotonic() - begin, 5)
            self.assertLess(time.monotonic() - begin, 25)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.c.wait_healthy()


if __name__ == "__main__":
    unittest.main()
