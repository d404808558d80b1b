"""Taking nodes away: drain, forget, and links that are cut."""

import os
import unittest

from harness import Cluster, make_ephemeral_dir, wait_until


class Nodes(unittest.TestCase):

    def test_a_drained_node_can_be_forgotten_without_loss(self):
        with Cluster(nodes=3) as c:
            fast = make_ephemeral_dir(c.n(2) / "fast")
            (fast / "sub").mkdir()
            content = {name: os.urandom(200_000) for name in ("a", "b", "sub/c")}
            for name, data in content.items():
                (fast / name).write_bytes(data)
            (fast / "empty").touch()
            self.assertIn("copied 3 of", c.f3("node", "drain", "n2").stderr)
            c.stop_node(2)
            c.f3("node", "forget", "n2")
            for name, data in content.items():
                self.assertEqual((c.n(1) / "fast" / name).read_bytes(), data)
                self.assertNotEqual(c.stat(c.n(1) / "fast" / name)["home"], "n2")

    def test_without_draining_they_are_lost_and_said_so(self):
        with Cluster(nodes=2) as c:
            fast = make_ephemeral_dir(c.n(2) / "fast")
            (fast / "a").write_bytes(b"x" * 100_000)
            c.stop_node(2)
            wait_until(lambda: c.stat(c.n(1) / "fast" / "a")["state"] == "unavailable",
                       timeout=40, what="unavailable")
            c.f3("node", "forget", "n2")
            self.assertEqual(c.stat(c.n(1) / "fast" / "a")["state"], "lost")
            with self.assertRaises(OSError):
                (c.n(1) / "fast" / "a").read_bytes()

    def test_unknown_names_are_refused(self):
        with Cluster(nodes=1) as c:
            for command in ("drain", "forget", "stop", "start"):
                self.assertEqual(c.f3("node", command, "n9", check=False).returncode, 1, command)

    def test_a_cut_link_heals(self):
        with Cluster(nodes=2) as c:
            (c.n(1) / "a").write_text("before")
            c.link(2, up=False)
            c.link(2, up=True)
            c.wait_healthy()
            self.assertEqual((c.n(2) / "a").read_text(), "before")


if __name__ == "__main__":
    unittest.main()
