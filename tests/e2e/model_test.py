"""One tree through three mounts behaves as a tree of the local file system does."""

import collections
import os
import pathlib
import random
import stat
import tempfile
import unittest

from harness import Cluster

FULL = bool(os.environ.get("F3_FULL"))
OPERATIONS = 100_000 if FULL else 3_000
SEED = 20_260_501
NAMES = ["a", "b", "c", "d"]


class Tree:
    """Operations on a tree whose root may change from call to call; each returns what it saw."""

    def __init__(self, root):
        self.root = root

    def at(self, path):
        return os.path.join(self.root(), path)

    def create(self, path, data):
        fd = os.open(self.at(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        os.write(fd, data)
        os.close(fd)

    def overwrite(self, path, data):
        fd = os.open(self.at(path), os.O_WRONLY | os.O_TRUNC)
        os.write(fd, data)
        os.close(fd)

    def append(self, path, data):
        fd = os.open(self.at(path), os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)

    def patch(self, path, data, offset):
        fd = os.open(self.at(path), os.O_RDWR)
        os.pwrite(fd, data, offset)
        os.close(fd)

    def truncate(self, path, size):
        os.truncate(self.at(path), size)

    def read(self, path):
        with open(self.at(path), "rb") as file:
            return file.read()

    def mkdir(self, path):
        os.mkdir(self.at(path), 0o750)

    def rmdir(self, path):
        os.rmdir(self.at(path))

    def unlink(self, path):
        os.unlink(self.at(path))

    def rename(self, path, to):
        root = self.root()
        os.rename(os.path.join(root, path), os.path.join(root, to))

    def link(self, path, to):
        root = self.root()
        os.link(os.path.join(root, path), os.path.join(root, to), follow_symlinks=False)

    def symlink(self, path, text):
        os.symlink(text, self.at(path))

    def readlink(self, path):
        return os.readlink(self.at(path))

    def listdir(self, path):
        return sorted(os.listdir(self.at(path)))

    def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    def setxattr(self, path, value):
        os.setxattr(self.at(path), "user.x", value, follow_symlinks=False)

    def getxattr(self, path):
        return os.getxattr(self.at(path), "user.x", follow_symlinks=False)

    def lstat(self, path):
        found = os.lstat(self.at(path))
        seen = [stat.S_IFMT(found.st_mode), found.st_uid, found.st_gid]
        if not stat.S_ISLNK(found.st_mode):
            seen.append(stat.S_IMODE(found.st_mode))
        if not stat.S_ISDIR(found.st_mode):  # sizes and links of directories differ by design
            seen += [found.st_size, found.st_nlink]
        return seen


def outcome(tree, call, arguments):
    try:
        return "ok", getattr(tree, call)(*arguments)
    except OSError as error:
        return "error", error.errno


def shortened(values):
    return tuple(v[:8] + b"... %d bytes" % len(v) if isinstance(v, bytes) and len(v) > 8 else v
                 for v in values)


class Model(unittest.TestCase):
    def test_three_mounts_agree_with_the_local_file_system(self):
        chance = random.Random(SEED)
        cluster = self.enterContext(Cluster(memory="64M"))
        local = self.enterContext(tempfile.TemporaryDirectory(dir="/var/tmp"))
        for name in ("e", "d"):
            os.mkdir(os.path.join(local, name))
            os.mkdir(cluster.n(1) / name)
        os.setxattr(cluster.n(1) / "e", "user.f3.class", b"ephemeral")
        here = Tree(lambda: local)
        node = 1
        there = Tree(lambda: cluster.n(node))
        before = collections.deque(maxlen=400)
        for step in range(OPERATIONS):
            call, arguments = self.choose(chance)
            expected = outcome(here, call, arguments)
            node = chance.randint(1, 3)
            seen = outcome(there, call, arguments)
            before.append(f"{step}: n{node} {call}{shortened(arguments)} = {shortened(expected)}")
            if seen != expected:
                text = "\n".join(line for line in before if arguments[0] in line)
                self.fail(f"F3 says {shortened(seen)} after\n{text}")

    def choose(self, chance):
        """Mostly in one of two trees, ephemeral and durable, at most three names deep."""
        def path():
            top = chance.choice(["e", "d"])
            return "/".join([top] + [chance.choice(NAMES) for _ in range(chance.randint(1, 3))])

        def beside(other):
            top = other.split("/")[0]
            return "/".join([top] + [chance.choice(NAMES) for _ in range(chance.randint(1, 3))])

        data = chance.randbytes(chance.choice([0, 1, 100, 5_000, 70_000]))
        first = path()
        return chance.choice([
            ("create", (first, data)), ("create", (first, data)), ("create", (first, data)),
            ("overwrite", (first, data)), ("append", (first, data)),
            ("patch", (first, data, chance.choice([0, 10, 4096, 100_000]))),
            ("truncate", (first, chance.choice([0, 10, 4096, 100_000]))),
            ("read", (first,)), ("read", (first,)), ("read", (first,)),
            ("mkdir", (first,)), ("mkdir", (first,)), ("mkdir", (first,)),
            ("rmdir", (first,)), ("unlink", (first,)),
            ("rename", (first, beside(first))), ("rename", (first, beside(first))),
            ("link", (first, beside(first))), ("symlink", (first, "b/c")),
            ("readlink", (first,)), ("listdir", (first,)), ("listdir", (first,)),
            ("listdir", (first.split("/")[0],)),
            ("chmod", (first, chance.choice([0o600, 0o755, 0o2750]))),
            ("setxattr", (first, data[:100])), ("getxattr", (first,)),
            ("lstat", (first,)), ("lstat", (first,)), ("lstat", (first,)),
        ])


if __name__ == "__main__":
    unittest.main()
