"""F3 in containers: attached at creation, late, paused, again after a kill; nobody gets out, nothing
is left."""

import contextlib
import json
import os
import random
import socket
import threading
import unittest

from attach_harness import (ONE_MOUNT, AgentApi, AgentError, Docker, DockerContainer, Lab,
                            RuncContainer, decode, fuse_mounts_in)
from harness import Cluster, wait_until
from xdt_harness import Function

AUTO = {"f3-mounts": [{}], "f3-hints": {"class": {"tmp/*": "ephemeral", "*.keep": "durable"}}}


class AttachTest(unittest.TestCase):
    """Tests share a cluster of two nodes; each has namespaces of its own."""

    @classmethod
    def setUpClass(cls):
        cls.c = cls.enterClassContext(Cluster(nodes=2))
        cls.lab = cls.enterClassContext(Lab())

    def setUp(self):
        self.ns = self.id().split(".")[-1].removeprefix("test_")
        self.addCleanup(self.check_nothing_left)

    @property
    def sandboxes(self):
        return self.c.dir / "state" / "n1" / "sandboxes"

    def known(self):
        """The containers that node 1 has a directory of."""
        return [p.name for p in self.sandboxes.iterdir() if p.name != "roots"]

    def attached(self):
        """Those that it has attached; others go with their containers."""
        return [name for name in self.known() if (self.sandboxes / name / "attached.json").exists()]

    def check_nothing_left(self):
        wait_until(lambda: not self.known(), timeout=15, what=f"the end of {self.known()}")
        left = [f for f in self.c.doctor_problems(in_containers=True)
                if f["what"].startswith("left-over") or str(self.c.dir) in f["found"]]
        self.assertEqual(left, [])

    def attach(self, container, namespace=None, annotations=ONE_MOUNT, node="n1", check=True,
               **options):
        words = ["attach", "--node", node, "--container", getattr(container, "id", container),
                 "--namespace", namespace or self.ns, "--annotations", json.dumps(annotations)]
        for key, value in options.items():
            words += [f"--{key}", value]
        done = self.c.f3(*words, "--json", check=check)
        return json.loads(done.stdout) if check else done

    def detach(self, container, node="n1"):
        self.c.f3("detach", "--node", node, "--container", container.id)

    def refused(self, code, text, *args, **options):
        done = self.attach(*args, check=False, **options)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(text, done.stderr)

    def await_known(self, identifier, pid):
        """Returns once node 1 knows the process of a container that was prepared."""
        note = self.sandboxes / identifier / "attached.json"
        wait_until(lambda: json.loads(note.read_text())["pid"] == pid, what="the agent's notice")

    def runc(self, **options):
        return self.enterContext(RuncContainer(self.lab, **options))

    def data(self, *names, namespace=None, node=1):
        """A namespace's files, through a node's own mount."""
        return self.c.n(node).joinpath("openwhisk", namespace or self.ns, *names)

    def kill_the_agent_under_load(self, containers, gone):
        """Twice, while the containers write; `gone` ends while the agent is dead."""
        for i, container in enumerate(containers):
            self.attach(container, f"{self.ns}{i}", annotations=AUTO)
            container.sh("mkdir -p /mnt/f3/tmp; echo before > /mnt/f3/x.keep; "
                         "(i=0; while [ ! -e /tmp/stop ]; do i=$((i+1)); "
                         "echo $i > /mnt/f3/n$((i%50)).keep; done; touch /tmp/stopped) "
                         "> /dev/null 2>&1 &")
        self.attach(gone)
        for _ in range(2):
            self.c.kill("n1", wait=True)
            gone.end()
            self.c.wait_healthy()
            for container in containers:
                wait_until(lambda c=container: c.sh("echo after > /mnt/f3/y.keep", check=False)
                           .returncode == 0, what="a mount that works again")
                self.assertEqual(container.sh("cat /mnt/f3/x.keep /mnt/f3/y.keep"),
                                 "before\nafter\n")
                self.assertEqual(fuse_mounts_in(container.pid()), ["/mnt/f3"])
                wait_until(lambda c=container: c.sh("ls /run/f3") == "xdt.sock\n", what="the socket")
        # Nothing was written beside the mount meanwhile.
        for container in containers:
            container.sh("touch /tmp/stop; until [ -e /tmp/stopped ]; do sleep 0.1; done")
            self.detach(container)
            self.assertEqual(container.sh("ls /mnt/f3"), "")
        self.assertEqual(self.attached(), [])


class Mounting(AttachTest):

    def test_at_creation(self):
        container = RuncContainer(self.lab, sandboxes=self.sandboxes)
        self.attach(container, annotations={"f3-mounts": [{"path": "/data/deep"},
                                                          {"path": "/ro", "mode": "ro"}]})
        with container:
            container.sh("echo made > /data/deep/a")
            self.assertEqual(self.data("a", node=2).read_text(), "made\n")
            self.assertEqual(container.sh("cat /ro/a"), "made\n")
            self.assertNotEqual(container.sh("echo x > /ro/b", check=False).returncode, 0)
            # Nothing is added a second time when its process is found.
            self.await_known(container.id, container.pid())
            self.assertEqual(sorted(fuse_mounts_in(container.pid())), ["/data/deep", "/ro"])
            self.assertEqual(container.sh("ls /run/f3"), "xdt.sock\n")
            self.assertNotEqual(container.sh("touch /run/f3/x", check=False).returncode, 0)

    def test_late_root(self):
        container = self.runc(sandboxes=self.sandboxes, read_only=True)
        self.assertEqual(container.sh("ls /mnt/f3 /run/f3"), "/mnt/f3:\n\n/run/f3:\n")
        self.assertNotEqual(container.sh("touch /mnt/f3/x", check=False).returncode, 0)
        self.attach(container, action="pack/act")
        container.sh("echo late > /mnt/f3/a")
        self.assertEqual(self.data("a").read_text(), "late\n")
        self.assertEqual(container.sh("ls /run/f3"), "xdt.sock\n")
        self.assertEqual(fuse_mounts_in(container.pid()), ["/mnt/f3"])
        # Neither a detach nor an attach that fails costs it its place.
        self.detach(container)
        self.refused(1, "cannot make the directory /data", container,
                     annotations={"f3-mounts": [{"path": "/data"}]})
        self.attach(container)
        self.assertEqual(container.sh("cat /mnt/f3/a; ls /run/f3"), "late\nxdt.sock\n")

    def test_late_without_the_wrapper(self):
        container = self.runc()
        for _ in range(2):
            reply = self.attach(container)
            self.assertEqual(reply["mounts"],
                             [{"path": "/mnt/f3", "volume": "default", "read_only": False}])
        self.assertEqual(fuse_mounts_in(container.pid()), ["/mnt/f3"])
        container.sh("echo 1 > /mnt/f3/a")
        container.sh("echo 2 > /mnt/f3/b", user=1234)
        self.assertEqual(sorted(os.listdir(self.data())), ["a", "b"])
        self.detach(container)
        self.assertEqual(fuse_mounts_in(container.pid()), [])
        self.assertEqual(container.sh("ls /mnt/f3 /run/f3"), "/mnt/f3:\n\n/run/f3:\n")
        self.attach(container)
        self.assertEqual(container.sh("cat /mnt/f3/a"), "1\n")
        self.detach(container)
        self.detach(container)

    def test_paused(self):
        container = self.runc()
        container.pause()
        self.attach(container)
        container.resume()
        container.sh("echo x > /mnt/f3/a")
        container.pause()
        self.attach(container, annotations={"f3-mounts": [{"path": "/other"}]})
        container.resume()
        self.assertEqual(container.sh("cat /other/a"), "x\n")
        self.assertEqual(fuse_mounts_in(container.pid()), ["/other"])
        container.pause()
        self.detach(container)
        container.resume()
        self.assertEqual(fuse_mounts_in(container.pid()), [])

    def test_own_user_namespace(self):
        for sandboxes in (None, self.sandboxes):
            container = self.runc(sandboxes=sandboxes, user_namespace=True)
            self.attach(container)
            container.sh("echo x > /mnt/f3/a && rm /mnt/f3/a && echo y > /mnt/f3/b")
            self.assertEqual(container.sh("stat -c %u /mnt/f3/b"), "0\n")
            self.assertEqual(self.data("b").stat().st_uid, 100000)
            container.sh("rm /mnt/f3/b")
            self.detach(container)
            self.assertEqual(fuse_mounts_in(container.pid()), [])

    def test_a_container_that_ends_takes_everything_with_it(self):
        container = self.runc()
        self.attach(container)
        self.assertEqual(self.known(), [container.id])
        container.end()
        wait_until(lambda: not self.known(), what="the agent's notice")
        self.detach(container)

    def test_for_somebody_else(self):
        container = self.runc()
        self.attach(container, action="a")
        self.refused(1, "attached for namespace", container, "another")
        self.refused(1, "attached for action a", container, action="b")
        self.attach(container, action="a")

    def test_workflows_have_directories_of_their_own(self):
        container = self.runc()
        mounts = {"f3-mounts": [{"lifetime": "workflow"}]}
        self.attach(container, annotations=mounts)
        self.assertEqual(fuse_mounts_in(container.pid()), [])
        for workflow in ("one", "two"):
            self.attach(container, annotations=mounts, workflow=workflow)
            self.assertEqual(container.sh("ls /mnt/f3"), "")
            container.sh("touch /mnt/f3/here")
            self.assertTrue(self.data(".workflows", workflow, "here").exists())
        self.assertEqual(fuse_mounts_in(container.pid()), ["/mnt/f3"])


class Hints(AttachTest):

    def test_class_by_glob_and_outputs(self):
        container = self.runc()
        self.attach(container, annotations={
            "f3-mounts": [{}],
            "f3-hints": {"class": {"out/*": "ephemeral", "*.tmp": "ephemeral", "*": "durable"},
                         "outputs": ["out/*.txt"]}})
        container.sh("mkdir /mnt/f3/out && cd /mnt/f3 && "
                     "for f in out/a.txt out/b.bin c.tmp d; do echo x > $f; done")
        classes = {name: self.c.stat(self.data(name))["class"]
                   for name in ("out/a.txt", "out/b.bin", "c.tmp", "d")}
        self.assertEqual(classes, {"out/a.txt": "durable", "out/b.bin": "ephemeral",
                                   "c.tmp": "ephemeral", "d": "durable"})

    def test_ttl_and_read_only(self):
        container = self.runc()
        self.attach(container, annotations={
            "f3-mounts": [{}, {"path": "/ro", "mode": "ro"}],
            "f3-hints": {"class": "ephemeral", "ttl": 1}})
        container.sh("echo x > /mnt/f3/gone")
        self.assertNotEqual(container.sh("touch /ro/x", check=False).returncode, 0)
        wait_until(lambda: not self.data("gone").exists(), what="the end of a ttl")

    def test_follow(self):
        hints = {"f3-mounts": [{}], "f3-hints": {"class": "ephemeral", "follow": True}}
        writer, reader = self.runc(), self.runc()
        for container in (writer, reader):
            self.attach(container, annotations=hints)
        # Who waits is never of the writer's own session.
        writer.sh("setsid sh -c '(echo 1; sleep 3; echo 2) > /mnt/f3/slow' < /dev/null "
                  "> /dev/null 2>&1 &")
        wait_until(lambda: self.data("slow").exists(), what="the file")
        # Busybox's cat does not read, see SEMANTICS.md 5.6.
        self.assertEqual(reader.sh("dd if=/mnt/f3/slow 2>/dev/null"), "1\n2\n")

    def test_errors_name_the_field(self):
        container = self.runc()
        self.refused(2, "f3-hints.locality is \"near\"; allowed are prefer, require, off", container,
                     annotations={"f3-hints": {"locality": "near"}})
        self.refused(1, "f3-mounts[0].volume: namespace", container,
                     annotations={"f3-mounts": [{"volume": "secret"}]})
        self.refused(2, "there is no such volume", container,
                     annotations={"f3-mounts": [{"volume": self.ns}]})
        self.c.f3("volume", "create", self.ns)
        self.attach(container, annotations={"f3-mounts": [{"volume": self.ns}]})
        container.sh("touch /mnt/f3/x")
        self.assertFalse(self.data("x").exists())


class Api(AttachTest):
    """What platforms call: field numbers are those of agent.proto."""

    def setUp(self):
        super().setUp()
        self.api = AgentApi(self.c.dir / "run" / "n1-agent.sock")

    def fails(self, code, method, fields):
        with self.assertRaises(AgentError) as caught:
            self.api(method, fields)
        self.assertEqual(caught.exception.code, code, caught.exception)
        return str(caught.exception)

    def test_workflows_and_calls(self):
        container = self.runc()
        mounts = json.dumps({"f3-mounts": [{"lifetime": "workflow"}, {"path": "/own"}],
                             "f3-hints": {"class": "durable"}})
        self.api("Attach", {1: container.id, 2: self.ns, 6: mounts})
        self.assertEqual(fuse_mounts_in(container.pid()), ["/own"])
        for workflow, hints, expected in (("w1", "", "durable"),
                                          ("w1", '{"class":"ephemeral"}', "ephemeral"),
                                          ("w2", "", "durable")):
            self.api("Update", {1: container.id, 2: "act", 3: workflow, 4: hints})
            name = f"{workflow}-{expected}"
            container.sh(f"echo x > /mnt/f3/{name}; echo x > /own/{name}")
            for path in (self.data(".workflows", workflow, name), self.data(name)):
                self.assertEqual(self.c.stat(path)["class"], expected)
        self.assertEqual(container.sh("ls /mnt/f3"), "w2-durable\n")
        (attached,) = self.api("List", {})[1]
        self.assertIn(container.id.encode(), attached)
        for _ in range(2):
            self.api("EndWorkflow", {1: self.ns, 2: "w2"})
        self.assertEqual(fuse_mounts_in(container.pid()), ["/own"])
        self.assertEqual(os.listdir(self.data(".workflows")), ["w1"])
        self.api("Update", {1: container.id, 2: "w2", 3: "w2"})
        self.assertEqual(container.sh("ls /mnt/f3"), "")
        self.fails(3, "Update", {1: container.id, 2: "a", 4: '{"class":"fast"}'})
        self.fails(5, "Update", {1: "nobody", 2: "a"})
        self.api("Detach", {1: container.id})
        self.assertEqual(fuse_mounts_in(container.pid()), [])

    def test_locate(self):
        one, two = self.runc(), self.runc()
        annotations = {"f3-mounts": [{}], "f3-hints": {"class": {"*.dur": "durable",
                                                                 "*": "ephemeral"}}}
        self.attach(one, annotations=annotations)
        self.attach(two, annotations=annotations, node="n2")
        one.sh("mkdir /mnt/f3/in; dd if=/dev/zero of=/mnt/f3/in/big bs=1000 count=300 2>/dev/null")
        two.sh("dd if=/dev/zero of=/mnt/f3/in/small bs=1000 count=100 2>/dev/null; "
               "dd if=/dev/zero of=/mnt/f3/in/x.dur bs=1000 count=10 2>/dev/null")
        with Function(self.c, 2, path=two.path("/run/f3/xdt.sock")) as f:
            reference, _ = f.put_random(1_000_000)
            found = self.api("Locate", {1: self.ns, 2: json.dumps(annotations),
                                        4: ["in/*", "/mnt/f3/in/big", "missing"], 5: [reference]})
        self.assertEqual(found[1], [1_410_000])
        self.assertEqual(found[2], [3])
        self.assertEqual(found[4], [10_000])
        held = {}
        for node in found[3]:
            fields = decode(node)
            name = fields[1][0].decode()
            held[name] = fields[2][0]
            self.assertIn(self.c.node(int(name[1]))["address"].encode(), fields[3][0])
        self.assertEqual(list(held), ["n2", "n1"])
        self.assertGreaterEqual(held["n2"], 1_100_000)
        self.assertGreaterEqual(held["n1"], 300_000)
        self.fails(7, "Locate", {1: "another", 5: [reference]})
        self.fails(3, "Locate", {1: self.ns, 5: ["nonsense"]})
        self.fails(3, "Locate", {1: self.ns, 2: json.dumps(annotations), 4: ["/etc/passwd"]})
        self.detach(two, node="n2")

    def test_prefetch(self):
        container = self.runc()
        source = self.c.n(2) / "openwhisk" / self.ns / "in"
        self.attach(container)
        os.makedirs(source)
        (source / "a").write_bytes(os.urandom(3_000_000))
        # A file whose writer has only just closed it is read from there, without a copy.
        wait_until(lambda: self.c.stat(source / "a")["state"] == "sealed", what="a sealed file")
        mounts = json.dumps({"f3-mounts": [{}], "f3-hints": {"transfer": "prefetch",
                                                             "inputs": ["in/*"]}})
        self.api("Attach", {1: container.id, 2: self.ns, 4: "act", 6: mounts})
        wait_until(lambda: "n1" in str(self.c.stat(source / "a")["copies"]), what="a copy on n1")

    def test_check_and_refusals(self):
        good = {1: self.ns, 2: json.dumps({"f3-mounts": [{}]}), 3: '{"ttl":5}'}
        self.api("Check", good)
        self.fails(3, "Check", {**good, 3: '{"ttl":0}'})
        self.fails(7, "Check", {**good, 2: json.dumps({"f3-mounts": [{"volume": "x"}]})})
        self.fails(3, "Check", {**good, 2: json.dumps({"f3-mounts": [{"volume": self.ns}]})})
        self.fails(3, "Check", {**good, 1: "../x"})
        container = self.runc()
        self.api("Attach", {1: container.id, 2: self.ns})
        self.fails(6, "Attach", {1: container.id, 2: "another"})
        self.fails(9, "Attach", {1: "host", 2: self.ns, 7: os.getpid()})
        self.fails(5, "Attach", {1: "gone", 2: self.ns, 7: 4194304})
        self.fails(5, "Attach", {1: "not-here", 2: self.ns, 8: 1})
        self.api("Detach", {1: "never-attached"})
        self.assertEqual((self.c.dir / "run" / "n1-agent.sock").stat().st_mode & 0o777, 0o600)


class Isolation(AttachTest):

    def test_namespaces_side_by_side(self):
        one, two = self.runc(), self.runc()
        self.attach(one, "one")
        self.attach(two, "two")
        one.sh("echo 1 > /mnt/f3/a; ln -s ../two/a /mnt/f3/link; ln -s ../../.. /mnt/f3/up")
        self.assertEqual(two.sh("ls -A /mnt/f3"), "")
        two.sh("echo 2 > /mnt/f3/a")
        self.assertEqual(one.sh("cat /mnt/f3/a /mnt/f3/../f3/a"), "1\n1\n")
        self.assertNotEqual(one.sh("cat /mnt/f3/link", check=False).returncode, 0)
        self.assertEqual(sorted(one.sh("ls /mnt/f3/../..").split())[:2], ["bin", "dev"])
        # References are of a namespace too.
        with Function(self.c, 1, path=one.path("/run/f3/xdt.sock")) as f, \
                Function(self.c, 1, path=two.path("/run/f3/xdt.sock")) as g:
            reference = f.do("f3.put(b'of one', retrievals=3)")
            self.assertEqual(f.do(f"bytes(f3.get({reference!r}).data)"), b"of one")
            self.assertEqual(g.code(f"f3.get({reference!r})"), 412)

    def test_paths_that_lead_elsewhere(self):
        def links(rootfs):
            (rootfs / "to-root").symlink_to("/")
            (rootfs / "to-host").symlink_to("../../../../../.." + str(self.lab.dir))
            # The directory of that name below the container's root.
            rootfs.joinpath(*self.lab.dir.parts[1:]).mkdir(parents=True)
            (rootfs / "to-proc").symlink_to("/proc/self/root")
            (rootfs / "proc-link").symlink_to("/proc")
            (rootfs / "a-file").write_text("x")
            (rootfs / "dangling").symlink_to("/nowhere")
        container = self.runc(prepare=links)

        def at(path):
            return {"f3-mounts": [{"path": path}]}
        for path in ("/mnt/../etc", "relative", "/", "/proc/x", "/dev", "/run/f3/x", "/./a"):
            self.refused(2, "f3-mounts[0].path", container, annotations=at(path))
        for path in ("/to-root", "/to-host", "/to-proc", "/a-file", "/dangling", "/a-file/x",
                     "/dangling/x", "/to-proc/x", "/proc-link/self", "/proc-link/sys"):
            self.refused(1, path, container, annotations=at(path))
            self.assertEqual(fuse_mounts_in(container.pid()), [], path)
            self.assertEqual(self.attached(), [], path)
        # Links on the way stay below the container's root.
        self.attach(container, annotations=at("/to-host/inner"))
        container.sh("echo x > /to-host/inner/a")
        self.assertEqual(fuse_mounts_in(container.pid()), [f"{self.lab.dir}/inner"])
        self.assertFalse((self.lab.dir / "inner").exists())

    def test_a_link_that_is_swapped_all_the_time(self):
        container = self.runc()
        container.sh("mkdir -p /swap/real; (while true; do ln -sfn / /swap/x; rm /swap/x; "
                     "mkdir /swap/x; rm -r /swap/x; done) > /dev/null 2>&1 &")
        for _ in range(30):
            self.attach(container, annotations={"f3-mounts": [{"path": "/swap/x/f3"}]}, check=False)
            for point in fuse_mounts_in(container.pid()):
                self.assertIn(point, ("/swap/x/f3", "/f3"), point)
        self.assertEqual([p for p in ("/f3", "/swap") if os.path.exists(p)], [])

    def test_read_only_root(self):
        container = self.runc(read_only=True)
        self.refused(1, "cannot make the directory /run/f3", container)
        self.assertEqual(fuse_mounts_in(container.pid()), [])

    def test_processes_that_are_no_container(self):
        self.refused(1, "is in no container", "nobody", pid=str(os.getpid()))
        self.refused(1, "is in no container", "nobody", pid=str(self.c.pid("n1")))
        self.refused(1, "there is no process", "nobody", pid="4194304")
        for name in ("..", "roots", "a/b", ".x", ""):
            self.refused(2, "container", name)

    def test_a_container_that_vanishes(self):
        rng = random.Random(7)
        for _ in range(8):
            container = RuncContainer(self.lab)
            with container:
                pid = container.pid()
                delay = rng.random() * 0.1
                killer = threading.Timer(delay, lambda p=pid: os.kill(p, 9))
                killer.start()
                done = self.attach(container, check=False, pid=str(pid))
                killer.join()
                if done.returncode != 0:
                    self.assertTrue("has ended" in done.stderr or "no process" in done.stderr,
                                    done.stderr)
        with RuncContainer(self.lab) as container:
            pid = container.pid()
        self.refused(1, "there is no process", container, pid=str(pid))

    def test_a_flood_of_one_socket(self):
        flooded, other = self.runc(), self.runc()
        self.attach(flooded)
        self.attach(other, "calm")
        path = str(flooded.path("/run/f3/xdt.sock"))
        stop = threading.Event()

        def flood():
            while not stop.is_set():
                held = []
                with contextlib.suppress(OSError):
                    for _ in range(200):
                        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                        one.settimeout(0.2)
                        held.append(one)
                        one.connect(path)
                        one.send(os.urandom(random.randrange(1, 4000)))
                for one in held:
                    one.close()
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            with Function(self.c, 1, path=other.path("/run/f3/xdt.sock")) as f:
                for size in (10, 100_000, 3_000_000):
                    reference, digest = f.put_random(size)
                    self.assertEqual(f.hash(reference), digest)
            other.sh("echo x > /mnt/f3/a && cat /mnt/f3/a")
        finally:
            stop.set()
            for thread in threads:
                thread.join()


class Restarts(AttachTest):

    def test_the_agent_is_killed_under_load(self):
        self.kill_the_agent_under_load([self.runc(), self.runc(sandboxes=self.sandboxes)],
                                       self.runc())

    def test_down_leaves_containers_and_up_comes_back(self):
        with Cluster(nodes=1) as c, RuncContainer(self.lab) as container:
            c.f3("attach", "--container", container.id, "--namespace", "ns")
            container.sh("echo kept > /mnt/f3/a")
            c.down()
            self.assertEqual(fuse_mounts_in(container.pid()), [])
            c.up()
            wait_until(lambda: fuse_mounts_in(container.pid()) == ["/mnt/f3"], what="the mount")
            self.assertEqual(container.sh("cat /mnt/f3/a"), "kept\n")
            # With the agent dead, and nobody to restart it, too.
            c.kill("supervise")
            c.kill("n1")
            c.destroy()
            self.assertEqual(fuse_mounts_in(container.pid()), [])


class WithDocker(AttachTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.docker = cls.enterClassContext(
            Docker(cls.lab, cls.c.dir / "state" / "n1" / "sandboxes"))

    def run_one(self, *words, **options):
        return self.enterContext(self.docker.container(*words, **options))

    def test_late_root_pause_and_end(self):
        container = self.run_one(runtime="f3")
        self.assertEqual(container.sh("ls /mnt/f3"), "")
        self.attach(container)
        container.sh("echo x > /mnt/f3/a")
        container.sh("cat /mnt/f3/a", user=1000)
        container.pause()
        self.detach(container)
        self.attach(container)
        container.resume()
        self.assertEqual(container.sh("cat /mnt/f3/a"), "x\n")
        self.assertEqual(container.sh("ls /run/f3"), "xdt.sock\n")
        self.assertEqual(fuse_mounts_in(container.pid()), ["/mnt/f3"])
        container.end()

    def test_late_without_the_wrapper_and_namespaces(self):
        one, two = self.run_one(), self.run_one("--read-only", "--tmpfs", "/run", "--tmpfs", "/mnt")
        self.attach(one, "one")
        self.attach(two, "two")
        one.sh("echo 1 > /mnt/f3/a")
        two.sh("echo 2 > /mnt/f3/a")
        self.assertEqual(one.sh("cat /mnt/f3/a"), "1\n")
        self.assertEqual(self.data("a", namespace="two").read_text(), "2\n")

    def test_at_creation(self):
        # A container's id is known once it is created; it is prepared before it is started.
        identifier = self.docker("create", "--runtime", "f3", "--network", "none", "f3/busybox:1",
                                 "sleep", "1000").stdout.strip()
        self.addCleanup(self.docker, "rm", "-f", identifier, check=False)
        self.attach(identifier, annotations={"f3-mounts": [{"path": "/data"}]})
        self.docker("start", identifier)
        self.docker("exec", identifier, "sh", "-c", "echo x > /data/a")
        self.assertEqual(self.data("a").read_text(), "x\n")
        self.await_known(identifier, DockerContainer(self.docker, identifier).pid())
        self.docker("rm", "-f", identifier)
        wait_until(lambda: not self.known(), timeout=15, what="the agent's notice")

    def test_the_agent_is_killed_under_load(self):
        self.kill_the_agent_under_load([self.run_one(runtime="f3"), self.run_one()],
                                       self.run_one(runtime="f3"))

    def test_without_an_agent(self):
        with Lab() as lab:
            refusing = RuncContainer(lab, sandboxes="/nonexistent")
            self.assertNotEqual(refusing.start(check=False), 0)
            self.assertIn("the node agent's directory /nonexistent is missing", refusing.output)
            refusing.end()


if __name__ == "__main__":
    unittest.main()
