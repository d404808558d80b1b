"""The example workflow of openwhisk_plugin/examples on `f3 up --nodes 3`, by the stock npm client."""

import collections
import gzip
import unittest

from gateway_test import Gateway
from harness import Cluster


class Workflow(unittest.TestCase):

    def test_example(self):
        with Cluster(nodes=3, memory="256M") as c, Gateway(c) as gateway:
            print(gateway.node("example", timeout=400).stdout)
            files = c.n(2) / "openwhisk" / "guest"
            self.check_results(files)
            self.check_classes(c, files)

    def check_results(self, files):
        """What the workflow made of its input, against the same done here."""
        text = (files / "in" / "example.part").read_bytes()
        out = {path.name: path for path in (files / "out" / "example").iterdir()}
        self.assertEqual(gzip.decompress(out["text.gz"].read_bytes()), text)
        lines = [line.split("\t") for line in out["counts.tsv"].read_text().splitlines()]
        self.assertEqual({word: int(count) for word, count in lines},
                         collections.Counter(text.decode().split()))

    def check_classes(self, cluster, files):
        """Results are durable, what lies between is ephemeral."""
        for path in (files / "out" / "example").iterdir():
            self.assertEqual(cluster.stat(path)["class"], "durable", path)
        between = [*(files / "work").rglob("*.part"), *(files / "in").rglob("*.part")]
        self.assertGreaterEqual(len(between), 7)
        for path in between:
            self.assertEqual(cluster.stat(path)["class"], "ephemeral", path)


if __name__ == "__main__":
    unittest.main()
