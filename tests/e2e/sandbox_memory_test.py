"""Actions limited to 256 MB process a 100 MB input, by path and by reference, in Python and Node.js."""

import hashlib
import unittest

from gateway_test import Gateway
from harness import ROOT, Cluster

ACTIONS = ROOT / "openwhisk_plugin" / "examples" / "actions"
ANNOTATIONS = [{"key": "f3-mounts", "value": [{"path": "/mnt/f3"}]},
               {"key": "f3-hints", "value": {"class": "ephemeral"}}]
INPUT_BYTES = 100 << 20
LIMIT_MB = 256
DIGESTS = {"digest-python": ("digest.py", "python:3"), "digest-node": ("digest.js", "nodejs:18")}


def write_input(path):
    """Writes the input, no two of whose blocks are alike, and returns its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "wb") as out:
        for n in range(INPUT_BYTES >> 20):
            block = hashlib.shake_128(n.to_bytes(4, "big")).digest(1 << 20)
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


class SandboxMemory(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=3, memory="256M")
        cls.cluster.__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)
        cls.gateway = Gateway(cls.cluster)
        cls.gateway.__enter__()
        cls.addClassCleanup(cls.gateway.__exit__, None, None, None)
        for name, (file, kind) in DIGESTS.items():
            cls.deploy(name, (ACTIONS / file).read_text(), kind)
        cls.deploy("put-file", (ACTIONS / "put_file.py").read_text(), "python:3")
        # The first activation makes the namespace's directory; then the input lies on the third node.
        cls.deploy("hog", "def main(args):\n    return {\"bytes\": len(bytearray(args[\"bytes\"]))}\n",
                   "python:3")
        cls.call("hog", bytes=1)
        cls.sha256 = write_input(cls.cluster.n(3) / "openwhisk" / "guest" / "input.bin")

    @classmethod
    def deploy(cls, name, code, kind):
        cls.gateway.put(name, code, kind, annotations=ANNOTATIONS,
                        limits={"memory": LIMIT_MB, "timeout": 120000})

    @classmethod
    def call(cls, name, **arguments):
        """(result, activation's record)"""
        status, record = cls.gateway.call("POST", f"actions/{name}?blocking=true", arguments)
        assert status in (200, 502), (status, record)
        return record["response"]["result"], record

    def check(self, name, **arguments):
        result, record = self.call(name, **arguments)
        self.assertEqual(result, {"sha256": self.sha256, "bytes": INPUT_BYTES}, record["logs"])
        annotations = {a["key"]: a["value"] for a in record["annotations"]}
        self.assertEqual(annotations["limits"]["memory"], LIMIT_MB)

    def test_by_path(self):
        for name in DIGESTS:
            for locality in ("off", "require"):
                with self.subTest(action=name, locality=locality):
                    self.check(name, path="/mnt/f3/input.bin",
                               __f3={"inputs": ["input.bin"], "locality": locality})

    def test_by_reference(self):
        for name in DIGESTS:
            for locality in ("off", "require"):
                with self.subTest(action=name, locality=locality):
                    made, record = self.call("put-file", path="/mnt/f3/input.bin")
                    self.assertIn("reference", made, record)
                    self.check(name, reference=made["reference"], __f3={"locality": locality})

    def test_the_limit_is_one(self):
        """Otherwise the other tests would show nothing."""
        result, record = self.call("hog", bytes=LIMIT_MB << 20)
        self.assertFalse(record["response"]["success"], record)
        self.assertIn("memory", str(result))


if __name__ == "__main__":
    unittest.main()
