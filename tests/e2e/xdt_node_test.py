"""The Node.js package of XDT between nodes, with the Python package on the other side."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from harness import ROOT
from xdt_harness import Function, XdtTest, environment

# Node's C interface, where scripts/make_rootfs.sh puts it.
HEADERS = pathlib.Path(os.environ.get("F3_ROOTFS", ROOT / "build" / "rootfs")) / "usr/include/node"
LIBXDT = ROOT / "xdt" / "libxdt"
# Sends what a piece of JavaScript returns, or the code of its error, as JSON.
RUN = """
const f3 = require('f3');
const crypto = require('crypto');
const hash = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
(async () => { %s })().then((value) => console.log(JSON.stringify({ value })),
  (error) => console.log(JSON.stringify({ code: error.code, message: error.message })));
"""


class NodePackage(XdtTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.modules = pathlib.Path(tempfile.mkdtemp(prefix="f3-node-"))
        cls.addClassCleanup(shutil.rmtree, cls.modules)
        package = cls.modules / "f3"
        package.mkdir()
        for name in ("index.js", "package.json"):
            shutil.copy(ROOT / "xdt" / "node" / name, package)
        subprocess.run(["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared",
                        "-pthread", f"-I{HEADERS}", "-o", package / "f3.node",
                        ROOT / "xdt" / "node" / "f3_addon.c", LIBXDT / "channel.c",
                        LIBXDT / "xdt.c"], check=True)

    def node(self, at, code):
        """What the piece returns, or {code, message}, run by a process at that node."""
        env = dict(environment(self.c, at), NODE_PATH=str(self.modules))
        done = subprocess.run(["node", "--expose-gc", "-e", RUN % code], env=env, check=True,
                              capture_output=True, text=True, timeout=120)
        answer = json.loads(done.stdout)
        return answer["value"] if set(answer) <= {"value"} else answer

    def test_values_between_node_and_python(self):
        (python,) = [self.enterContext(Function(self.c, 2))]
        reference = self.node(1, "return f3.put('käse')")
        self.assertLessEqual(len(reference), 256)
        self.assertEqual(python.do(f"bytes(f3.get({reference!r}).data).decode()"), "käse")
        for size in (0, 1, 100_000, 30 << 20):
            reference, expected = python.put_random(size)
            self.assertEqual(self.node(1, f"const v = await f3.get({reference!r});"
                                          "return [v.length, hash(v)]"), [size, expected])

    def test_all_kinds_of_bytes(self):
        self.assertEqual(self.node(1, """
            const results = [];
            for (const value of [Buffer.from('abc'), new Uint8Array([97, 98, 99]), 'abc',
                                 new Uint8Array([97, 98, 99]).buffer,
                                 new Uint8Array([0, 97, 98, 99]).subarray(1)]) {
              results.push((await f3.get(await f3.put(value))).toString());
            }
            return results"""), ["abc"] * 5)

    def test_many_at_once_on_one_connection(self):
        self.assertEqual(self.node(1, """
            const values = Array.from({ length: 50 }, (_, i) => Buffer.alloc(20000 + i, i));
            const references = await Promise.all(values.map((v) => f3.put(v)));
            const got = await Promise.all(references.map((r) => f3.get(r)));
            return got.every((v, i) => v.equals(values[i]))"""), True)

    def test_memory_is_given_back_when_a_value_is_collected(self):
        # More than a node's pool holds at once.
        self.assertEqual(self.node(1, """
            for (let i = 0; i < 40; i++) {
              const value = await f3.get(await f3.put(Buffer.alloc(4 << 20, i)));
              if (value[value.length - 1] !== i) return 'wrong bytes';
              global.gc();
              await new Promise(setImmediate);
            }
            return 'all'"""), "all")

    def test_refusals(self):
        def code(piece):
            return self.node(1, piece)["code"]
        self.assertEqual(code("return f3.get('nonsense')"), 408)
        self.assertEqual(code("const r = await f3.put('x'); await f3.get(r); return f3.get(r)"), 411)
        self.assertEqual(code("const r = await f3.put('x', { retrievals: f3.UNLIMITED });"
                              "await f3.remove(r); return f3.get(r)"), 411)
        self.assertEqual(code("const r = await f3.put('x', { action: 'other' }); return f3.get(r)"),
                         412)
        for piece in ("f3.put(5)", "f3.get(5)", "f3.get('x'.repeat(1000))"):
            self.assertIn("message", self.node(1, f"return {piece}"), piece)
