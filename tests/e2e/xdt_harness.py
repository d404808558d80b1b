"""Functions that pass values by reference: processes with libxdt, at one node of a Cluster each."""

import contextlib
import os
import pathlib
import sys

from harness import ROOT, ClusterTest, Worker, binary, wait_until

PACKAGE = ROOT / "xdt" / "python"
LIBXDT = binary().parent.parent / "lib" / "libxdt.so"

# So that this process can use the package too.
sys.path.insert(0, str(PACKAGE))
os.environ.setdefault("F3_LIBXDT", str(LIBXDT))


def socket(cluster, node):
    """The XDT socket of node's own namespace."""
    return cluster.dir / "run" / f"n{node}.xdt.sock"


def environment(cluster, node):
    return dict(os.environ, F3_XDT_SOCKET=str(socket(cluster, node)), F3_LIBXDT=str(LIBXDT),
                PYTHONPATH=os.pathsep.join([str(PACKAGE), str(ROOT / "tests" / "e2e")]))


class Function(Worker):
    """A Worker at a node's broker (or at another socket), with `f3` imported; errors come as codes.

    code(piece) runs a piece and returns None, or the number of the f3.Error that it raised.
    """

    def __init__(self, cluster, node, path=None):
        before = dict(os.environ)
        os.environ.update(environment(cluster, node))
        if path:
            os.environ["F3_XDT_SOCKET"] = str(path)
        try:
            super().__init__()
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.do("import f3, hashlib")
        self.do("def f3_code(piece):\n"
                "    try:\n"
                "        exec(piece, globals())\n"
                "    except f3.Error as error:\n"
                "        return error.code\n")

    def code(self, piece, timeout=30):
        return self.do(f"f3_code({piece!r})", timeout)

    def put_random(self, size, seed=1, **options):
        """Puts bytes that depend on seed; (reference, their SHA-256)."""
        words = "".join(f", {key}={value!r}" for key, value in options.items())
        self.do(f"import random; data = random.Random({seed}).randbytes({size})")
        return self.do(f"f3.put(data{words})"), self.do("hashlib.sha256(data).hexdigest()")

    def hash(self, reference, timeout=20):
        """Gets a value; its SHA-256."""
        return self.do(f"hashlib.sha256(f3.get({reference!r}, {timeout}).data).hexdigest()",
                       timeout + 20)


def used(cluster, node):
    """What the buffers of functions take of node's memory, as its ledger says."""
    status = cluster.status()
    for one in status["nodes"]:
        if one["name"] == f"n{node}":
            for line in one["agent"]["memory"]:
                if line["owner"] == "functions' buffers":
                    return line["used_bytes"]
    raise AssertionError("the ledger has no line for functions' buffers")


def buffers_in(pid):
    """Bytes of the buffers of functions that a process has open."""
    blocks = {}
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(link).startswith("/memfd:f3-xdt"):
                info = os.stat(link)
                blocks[info.st_ino] = info.st_blocks * 512
    return sum(blocks.values())


class XdtTest(ClusterTest):
    """Tests share a cluster: values that earlier ones left, and copies of them, may stay there."""

    def setUp(self):
        super().setUp()
        self.used_before = {node: used(self.c, node) for node in (1, 2, 3)}

    def await_given_back(self, nodes, timeout=30):
        """Returns once nodes hold no more than at the test's start."""
        for node in nodes:
            wait_until(lambda n=node: used(self.c, n) <= self.used_before[n], timeout=timeout,
                       what=f"n{node} giving back {used(self.c, node)} bytes", interval=0.2)
