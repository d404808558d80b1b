"""Unmodified programs on the mounts: git, sqlite3, tar, rsync, cmake, fio, ffmpeg."""

import filecmp
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import unittest

from harness import Cluster, make_ephemeral_dir, run

FULL = bool(os.environ.get("F3_FULL"))
SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIMIT = 600 if FULL else 120  # seconds for one program


def program(*argv, **kwargs):
    """Runs a program that must succeed within its time."""
    return run(*argv, timeout=LIMIT, **kwargs)


def copy_sources(to):
    """The tracked files of this project, without its history."""
    names = [p for p in SOURCE.rglob("*") if p.is_file()]
    for path in names:
        inside = path.relative_to(SOURCE)
        if inside.parts[0] in ("build", ".git") or "__pycache__" in inside.parts:
            continue
        (to / inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to / inside)


def files_below(top):
    return sum(len(files) for _, _, files in os.walk(top))


class OnMounts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(memory="256M"))
        cls.scratch = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))

    def place(self, node=1, ephemeral=True):
        """A new directory on a mount."""
        path = self.cluster.n(node) / self.id().rsplit(".", 1)[1]
        return make_ephemeral_dir(path) if ephemeral else self.plain(path)

    def plain(self, path):
        path.mkdir()
        return path

    def elsewhere(self, path, node):
        return self.cluster.n(node) / path.relative_to(self.cluster.n(1))


class Programs(OnMounts):
    def test_git(self):
        place = self.place()
        origin = self.plain(self.scratch / "origin")
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "safe.directory=*"]
        copy_sources(origin)
        program(*git, "-C", origin, "init", "-q")
        program(*git, "-C", origin, "add", "-A")
        program(*git, "-C", origin, "commit", "-qm", "one")
        program(*git, "clone", "-q", origin, place / "clone")
        clone = place / "clone"
        for i in range(5):
            (clone / "file").write_text("line\n" * (i + 1))
            program(*git, "-C", clone, "add", "-A")
            program(*git, "-C", clone, "commit", "-qm", f"change {i}")
        program(*git, "-C", clone, "gc", "-q")
        program(*git, "-C", clone, "fsck", "--strict")
        other = self.elsewhere(clone, 2)
        self.assertEqual(program(*git, "-C", other, "status", "--porcelain").stdout, "")
        self.assertIn("change 4", program(*git, "-C", other, "log", "--oneline", "-1").stdout)

    def test_tar_and_diff(self):
        sources = pathlib.Path("/usr/include" if FULL else "/usr/include/linux")
        if FULL:
            self.assertGreaterEqual(files_below(sources) + files_below("/usr/share/doc"), 10_000)
        place = self.place()
        archive = self.scratch / "a.tar"
        program("tar", "-C", sources.parent, "-cf", archive, sources.name)
        program("tar", "-C", place, "-xf", archive)
        program("diff", "-r", "--no-dereference", sources, place / sources.name)
        program("diff", "-r", "--no-dereference", sources,
                self.elsewhere(place / sources.name, 2))

    def test_rsync_there_and_back(self):
        place = self.place(ephemeral=False)
        source = self.plain(self.scratch / "tree")
        copy_sources(source)
        os.symlink("README.md", source / "link")
        os.link(source / "README.md", source / "hard")
        os.chmod(source / "README.md", 0o640)
        program("rsync", "-aH", f"{source}/", place / "tree")
        self.assertEqual(program("rsync", "-aHn", "--itemize-changes", "--checksum", f"{source}/",
                                 self.elsewhere(place / "tree", 2)).stdout, "")
        program("rsync", "-aH", f"{self.elsewhere(place / 'tree', 3)}/", self.scratch / "back")
        program("diff", "-r", "--no-dereference", source, self.scratch / "back")

    def test_cmake_build(self):
        place = self.place()
        copy_sources(place)
        target = "f3_cli" if FULL else "f3_hwalloc"
        program("cmake", "-S", place, "-B", place / "out", "-G", "Ninja")
        program("ninja", "-C", place / "out", target)
        self.assertTrue(any((place / "out").rglob(f"lib{target}.a")))
        again = program("ninja", "-C", place / "out", target).stdout
        self.assertIn("no work to do", again)

    def test_fio_verify(self):
        size = "256M" if FULL else "16M"
        for ephemeral in (True, False):
            place = self.plain(self.cluster.n(1) / f"fio{ephemeral}")
            os.setxattr(place, "user.f3.class", b"ephemeral" if ephemeral else b"durable")
            program("fio", "--name=v", f"--directory={place}", "--rw=randwrite", "--bs=4k",
                    f"--size={size}", "--numjobs=4", "--verify=crc32c", "--do_verify=1",
                    "--verify_fatal=1", "--group_reporting", cwd=self.scratch)


WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for i in range(int(sys.argv[3])):
    db.execute("BEGIN IMMEDIATE")
    n = db.execute("SELECT count(*) FROM t").fetchone()[0]
    db.execute("INSERT INTO t VALUES (?, ?, ?)", (sys.argv[2], i, n))
    db.execute("COMMIT")
"""


class Sqlite(OnMounts):
    def write_from(self, paths, rows):
        writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(i), str(rows)])
                   for i, path in enumerate(paths)]
        try:
            for writer in writers:
                self.assertEqual(writer.wait(timeout=LIMIT), 0)
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()

    def check(self, path, rows):
        db = sqlite3.connect(path, timeout=60)
        self.assertEqual(db.execute("PRAGMA integrity_check").fetchone()[0], "ok")
        # Each transaction saw all before it: the counts are 0, 1, 2, …
        counts = [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]
        db.close()
        self.assertEqual(counts, list(range(rows)))

    def make(self, path, mode):
        db = sqlite3.connect(path)
        self.assertEqual(db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0], mode)
        db.execute("CREATE TABLE t (who, i, n)")
        db.commit()
        db.close()

    def test_rollback_mode_with_writers_on_two_nodes(self):
        rows = 100 if FULL else 20
        path = self.place() / "db"
        self.make(path, "delete")
        self.write_from([path, self.elsewhere(path, 2)], rows)
        self.check(self.elsewhere(path, 3), 2 * rows)

    def test_wal_mode_with_two_writers_on_one_node(self):
        rows = 500 if FULL else 100
        path = self.place() / "db"
        self.make(path, "wal")
        self.write_from([path, path], rows)
        self.check(path, 2 * rows)


class Video(OnMounts):
    def test_ffmpeg_reads_what_another_node_still_writes(self):
        place = make_ephemeral_dir(self.cluster.n(1) / "video", follow=1)
        seconds = 20 if FULL else 6
        whole = self.scratch / "whole.ts"
        program("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i",
                f"testsrc=duration={seconds}:size=640x360:rate=25", "-c:v", "mpeg2video", "-q:v",
                "5", "-f", "mpegts", whole)
        growing = place / "growing.ts"
        writer = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-re", "-y", "-i", whole, "-c", "copy", "-f", "mpegts",
             growing], stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            while not growing.exists():
                self.assertIsNone(writer.poll())
            followed = self.frames(self.elsewhere(growing, 2))
            self.assertEqual(writer.wait(timeout=LIMIT), 0)
        finally:
            writer.kill()
            writer.wait()
        self.assertEqual(followed, self.frames(growing))
        pictures = [line for line in followed.splitlines() if not line.startswith("#")]
        self.assertEqual(len(pictures), seconds * 25)
        self.assertTrue(filecmp.cmp(growing, self.elsewhere(growing, 3), shallow=False))

    def frames(self, path):
        """A checksum of each decoded picture."""
        return program("ffmpeg", "-v", "error", "-i", path, "-f", "framemd5", "-",
                       stdin=subprocess.DEVNULL, start_new_session=True).stdout


if __name__ == "__main__":
    unittest.main()
