"""The life of a cluster: up, down, destroy, and what they do when things have died."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import unittest

from harness import (Cluster, alive, mounts_under, processes_naming, run, usable, wait_until)


class Life(unittest.TestCase):

    def test_up_is_usable_and_idempotent(self):
        with Cluster(nodes=2) as c:
            (c.n(1) / "a").write_text("hello")
            self.assertEqual((c.n(2) / "a").read_text(), "hello")
            pids = {name: c.pid(name) for name in ("meta", "n1", "n2", "supervise")}
            self.assertNotIn(None, pids.values())
            self.assertIn("already running", c.up().stdout)
            self.assertEqual(pids, {name: c.pid(name) for name in pids})
            refused = c.f3("up", "--nodes", 3, check=False)
            self.assertEqual(refused.returncode, 2, refused.stderr)

    def test_down_keeps_data_and_up_brings_it_back(self):
        with Cluster(nodes=2) as c:
            os.mkdir(c.n(1) / "fast")
            os.setxattr(c.n(1) / "fast", "user.f3.class", b"ephemeral")
            os.mkdir(c.n(1) / "memory")
            os.setxattr(c.n(1) / "memory", "user.f3.class", b"ephemeral")
            os.setxattr(c.n(1) / "memory", "user.f3.tier", b"memory")
            (c.n(1) / "durable").write_text("d")
            (c.n(1) / "fast" / "e").write_text("e")
            (c.n(1) / "memory" / "m").write_text("m")
            c.down()
            self.assertEqual(mounts_under(c.dir), [])
            self.assertEqual(processes_naming(c.dir), [])
            self.assertEqual((c.down()).returncode, 0)
            c.up()
            self.assertEqual((c.n(2) / "durable").read_text(), "d")
            self.assertEqual((c.n(2) / "fast" / "e").read_text(), "e")
            self.assertEqual((c.n(2) / "memory" / "m").read_text(), "m")

    def test_status_stat_and_locate(self):
        with Cluster(nodes=2) as c:
            (c.n(1) / "durable").write_text("x" * 1000)
            os.mkdir(c.n(1) / "fast")
            os.setxattr(c.n(1) / "fast", "user.f3.class", b"ephemeral")
            (c.n(1) / "fast" / "e").write_text("y" * 5000)
            status = c.status()
            self.assertTrue(status["healthy"])
            self.assertEqual([n["name"] for n in status["nodes"]], ["n1", "n2"])
            self.assertIn("n1", c.f3("status").stdout)
            durable = c.stat(c.n(1) / "durable")
            self.assertEqual((durable["class"], durable["size"]), ("durable", 1000))
            ephemeral = c.stat(c.n(2) / "fast" / "e")
            self.assertEqual((ephemeral["class"], ephemeral["home"]), ("ephemeral", "n1"))
            self.assertIn("ephemeral", c.f3("stat", c.n(1) / "fast" / "e").stdout)
            located = c.json("locate", c.n(2) / "fast" / "e")
            self.assertEqual(located["nodes"][0]["node"], "n1")
            self.assertEqual(c.f3("stat", "/etc/passwd", check=False).returncode, 1)
            self.assertEqual(c.f3("stat", c.n(1) / "missing", check=False).returncode, 1)

    def test_volumes(self):
        with Cluster(nodes=1) as c:
            c.f3("volume", "create", "team")
            self.assertEqual(sorted(c.json("volume", "list")), ["default", "team"])
            self.assertEqual(c.f3("volume", "create", "team", check=False).returncode, 1)

    def test_two_clusters_do_not_meet(self):
        with Cluster(nodes=1) as a, Cluster(nodes=1) as b:
            (a.n(1) / "f").write_text("a")
            self.assertFalse((b.n(1) / "f").exists())
            a.destroy()
            self.assertTrue(usable(b.n(1)))

    def test_two_clusters_that_start_at_once_choose_other_addresses(self):
        def first_choice(path):  # as cli/cluster.cc and cli/network.cc have it
            value = 0xcbf29ce484222325
            for byte in str(path).encode():
                value = (value ^ byte) * 0x100000001b3 & (1 << 64) - 1
            return (value >> 20 & 0xffffff) % 256

        with Cluster(nodes=1, start=False) as a, Cluster(nodes=1, start=False) as b:
            # What follows the number spreads it over the hash.
            b.dir = next(path for path in (b.dir.with_name(f"c{i}-of-two") for i in range(10_000))
                         if first_choice(path) == first_choice(a.dir))
            with concurrent.futures.ThreadPoolExecutor() as pool:
                for started in [pool.submit(a.up), pool.submit(b.up)]:
                    started.result()
            self.assertNotEqual(a.config()["metadata"], b.config()["metadata"])
            (a.n(1) / "f").write_text("a")
            self.assertFalse((b.n(1) / "f").exists())

    def test_without_namespaces_and_passthrough(self):
        with Cluster(nodes=2, netns=False, passthrough=False) as c:
            self.assertEqual(c.config()["bridge"], "")
            (c.n(1) / "a").write_bytes(os.urandom(3 << 20))
            self.assertEqual((c.n(1) / "a").read_bytes(), (c.n(2) / "a").read_bytes())


class Death(unittest.TestCase):

    def test_a_killed_agent_comes_back_with_its_mount(self):
        with Cluster(nodes=2) as c:
            (c.n(1) / "a").write_text("kept")
            old = c.kill("n1")
            c.wait_healthy()
            self.assertNotEqual(c.pid("n1"), old)
            self.assertEqual((c.n(1) / "a").read_text(), "kept")

    def test_a_killed_metadata_server_comes_back(self):
        with Cluster(nodes=1) as c:
            (c.n(1) / "a").write_text("kept")
            c.kill("meta")
            c.wait_healthy()
            self.assertEqual((c.n(1) / "a").read_text(), "kept")

    def test_down_cleans_after_a_killed_supervisor(self):
        with Cluster(nodes=2) as c:
            c.kill("supervise")
            self.assertTrue(usable(c.n(1)))
            c.down()
            self.assertEqual(mounts_under(c.dir), [])
            self.assertEqual(processes_naming(c.dir), [])

    def test_up_adopts_what_a_killed_supervisor_left(self):
        with Cluster(nodes=2) as c:
            pids = [c.pid("meta"), c.pid("n1")]
            c.kill("supervise")
            c.kill("n2")
            c.up()
            c.wait_healthy()
            self.assertEqual([c.pid("meta"), c.pid("n1")], pids)
            c.kill("n1")  # adopted, so it is watched as well
            c.wait_healthy()

    def test_destroy_works_when_everything_is_dead(self):
        with Cluster(nodes=2) as c:
            for name in ("supervise", "n1", "n2", "meta"):
                c.kill(name)
            self.assertFalse(usable(c.n(1)))
            # __exit__ destroys and looks for left-overs.

    def test_down_and_up_when_everything_is_dead(self):
        with Cluster(nodes=2) as c:
            os.mkdir(c.n(1) / "memory")
            os.setxattr(c.n(1) / "memory", "user.f3.class", b"ephemeral")
            os.setxattr(c.n(1) / "memory", "user.f3.tier", b"memory")
            (c.n(1) / "memory" / "m").write_text("m")
            for name in ("supervise", "n1", "n2", "meta"):
                c.kill(name)
            c.down()
            self.assertEqual(mounts_under(c.dir), [])
            c.up()
            self.assertEqual((c.n(1) / "memory" / "m").read_text(), "m")

    def test_a_stopped_node_stays_stopped(self):
        with Cluster(nodes=2) as c:
            c.stop_node(2)
            self.assertIsNone(c.pid("n2"))
            self.assertFalse(c.status()["healthy"])
            c.start_node(2)
            self.assertTrue(usable(c.n(2)))

    def test_status_answers_while_a_mount_hangs(self):
        with Cluster(nodes=2) as c:
            pid = c.kill("n2", signal.SIGSTOP)
            try:
                status = c.status(timeout=30)
                self.assertFalse(status["healthy"])
                self.assertEqual([n["usable"] for n in status["nodes"]], [True, False])
                self.assertTrue(alive(pid))
            finally:
                os.kill(pid, signal.SIGCONT)


class Refusals(unittest.TestCase):

    def test_unknown_configuration_keys_are_named(self):
        with Cluster(start=False) as c:
            config = c.dir.parent / "meta.toml"
            config.write_text('lisen = "127.0.0.1:1"\n')
            done = c.f3("meta", "--config", config, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn('"lisen"', done.stderr)
            self.assertIn('"listen"', done.stderr)

    def test_nonsense_is_a_usage_error(self):
        with Cluster(start=False) as c:
            for args in (["up", "--memory", "3"], ["up", "--nodes", "0"], ["up", "--memory", "lots"],
                         ["upp"], ["status", "--nonsense"], ["locate"], []):
                done = c.f3(*args, check=False)
                self.assertEqual(done.returncode, 2, (args, done.stderr))
                self.assertTrue(done.stderr)

    def test_no_cluster_is_said_so(self):
        with Cluster(start=False) as c:
            done = c.f3("status", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("f3 up", done.stderr)
            self.assertEqual(c.f3("down").returncode, 0)

    def test_every_command_has_help_with_examples(self):
        with Cluster(start=False) as c:
            text = c.f3("--help").stdout
            commands = [line.split()[0] for line in text.split("Subcommands:")[1].splitlines()
                        if line.startswith("  ") and line[2] != " "]
            self.assertGreater(len(commands), 14)
            for command in commands:
                self.assertIn("Examples:", c.f3(command, "--help").stdout, command)
                page = c.f3("help", "--man", command).stdout
                self.assertIn(".SH EXAMPLES", page, command)

    def test_a_mount_point_with_files_is_refused(self):
        with Cluster(start=False) as c:
            (c.dir / "n1").mkdir(parents=True)
            (c.dir / "n1" / "mine").write_text("x")
            done = c.f3("up", "--nodes", 1, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(str(c.dir / "n1"), done.stderr)
            self.assertEqual((c.dir / "n1" / "mine").read_text(), "x")
            (c.dir / "n1" / "mine").unlink()


class Care(unittest.TestCase):

    def test_destroy_leaves_other_files_alone(self):
        with Cluster(nodes=1) as c:
            (c.dir / "notes").write_text("mine")
            c.f3("destroy")
            self.assertEqual([p.name for p in c.dir.iterdir()], ["notes"])
            (c.dir / "notes").unlink()
            c.dir.rmdir()

    def test_fsck_is_clean_and_finds_a_leak(self):
        with Cluster(nodes=1) as c:
            (c.n(1) / "a").write_bytes(os.urandom(5 << 20))
            (c.n(1) / "b").write_text("b")
            report = c.json("fsck")
            self.assertEqual(report["problems"], [])
            self.assertGreaterEqual(report["blocks"], 3)
            block = next(p for p in sorted(c.durable().rglob("*.*")) if p.is_file())
            block.with_name("7.1").write_bytes(b"leaked")
            done = c.f3("fsck", "--json", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("leaked", json.loads(done.stdout)["problems"][0])
            self.assertEqual(c.json("fsck", "--repair")["problems"], [])
            self.assertEqual(c.json("fsck")["problems"], [])

    def test_backup_and_restore(self):
        with Cluster(nodes=1) as c:
            (c.n(1) / "before").write_text("1")
            backup = c.dir.parent / "meta.backup"
            c.f3("meta", "backup", backup)
            (c.n(1) / "after").write_text("2")
            self.assertEqual(c.f3("meta", "restore", backup, check=False).returncode, 1)
            c.down()
            c.f3("meta", "restore", backup)
            c.up()
            self.assertEqual((c.n(1) / "before").read_text(), "1")
            self.assertFalse((c.n(1) / "after").exists())
            run("rm", "-r", c.dir / "meta.before-restore")

    def test_doctor_finds_nothing_wrong_with_a_healthy_cluster(self):
        with Cluster(nodes=1) as c:
            self.assertEqual(c.doctor_problems(), [])
            c.kill("supervise")
            c.kill("n1")
            self.assertTrue([f for f in c.doctor_problems() if f["next"]])


class Mounts(unittest.TestCase):

    def test_mount_and_umount(self):
        with Cluster(nodes=1) as c:
            (c.n(1) / "in").mkdir()
            (c.n(1) / "in" / "a").write_text("a")
            (c.n(1) / "out").write_text("o")
            point = c.dir.parent / "point"
            point.mkdir()
            options = (f"secret={c.dir}/run/secret,durable={c.dir}/durable,"
                       f"state={c.dir.parent}/state")
            source = f"{c.config()['metadata']}/default/in"
            done = c.f3("mount", source, point, "-o", options + ",clas=durable", check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn("clas", done.stderr)
            c.f3("mount", source, point, "-o", options)
            try:
                self.assertEqual(os.listdir(point), ["a"])
                (point / "b").write_text("b")
                self.assertEqual((c.n(1) / "in" / "b").read_text(), "b")
                self.assertEqual(c.stat(point / "b")["class"], "durable")
                c.f3("mount", "none", point, "-o", "remount,ro")
                with self.assertRaises(OSError):
                    (point / "c").write_text("c")
            finally:
                run("umount", point)
            wait_until(lambda: not self.agents_of(point), what="the end of the mount's agent")

    @staticmethod
    def agents_of(point):
        """Command lines of the agents that `f3 mount` has started for this mount point."""
        found = []
        for _, line in processes_naming("/run/f3"):
            for word in line.split():
                with contextlib.suppress(OSError):  # an agent that ended meanwhile
                    if word.endswith(".toml") and str(point) in pathlib.Path(word).read_text():
                        found.append(line)
        return found

    def test_mount_8_finds_the_helper(self):
        helper = pathlib.Path("/sbin/mount.fuse.f3")
        made = not helper.exists() and not helper.is_symlink()
        with Cluster(nodes=1) as c:
            if made:
                helper.symlink_to(c.f3_binary)
            try:
                point = c.dir.parent / "point"
                point.mkdir()
                options = (f"ro,secret={c.dir}/run/secret,durable={c.dir}/durable,"
                           f"state={c.dir.parent}/state")
                (c.n(1) / "a").write_text("a")
                run("mount", "-t", "fuse.f3", f"{c.config()['metadata']}/default", point, "-o",
                    options)
                self.assertEqual((point / "a").read_text(), "a")
                with self.assertRaises(OSError):
                    (point / "b").write_text("b")
                run("umount", point)
            finally:
                if made:
                    helper.unlink()


if __name__ == "__main__":
    unittest.main()
