"""Whoever takes part in a hand-over is killed, stopped or frozen, at random points, for many rounds.

A sender puts values of random sizes and a receiver, of the same node or another one, gets those of
before, while one of them or a node's broker is harmed. Nobody ever gets wrong bytes, nobody waits
much longer than its deadline, who was not harmed gets everything, and in the end all memory is back.
F3_SEED repeats a run's choices; F3_FULL=1 makes 200 rounds.
"""

import collections
import contextlib
import json
import os
import random
import signal
import time
import unittest

from cgroups import Frozen, freezers
from harness import wait_until
from xdt_harness import Function, XdtTest, buffers_in

KIB, MIB = 1 << 10, 1 << 20
FULL = bool(os.environ.get("F3_FULL"))
ROUNDS = 200 if FULL else 20
MOST_SECONDS = 3000 if FULL else 45
SEED = int(os.environ.get("F3_SEED") or random.randrange(1 << 32))

DEADLINE = 4
# A call returns within its timeout and a second; the rest is for a machine that is busy.
LATEST = DEADLINE + 1 + 4
# Values that nobody got are gone after this; longer than any round.
LIFETIME = 30

TIMEOUT, UNAVAILABLE, UNREACHABLE, EARLIER = 103, 302, 401, 413

# What the functions run. Each answer says how long its longest wait was.
PIECES = """
import time
def timed(call):
    start = time.monotonic()
    try:
        return call()
    finally:
        waits.append(time.monotonic() - start)
def put_all(sizes, retrievals, lifetime, timeout):
    answers = []
    for size in sizes:
        waits.clear()
        data, reference, code = os.urandom(size), None, None
        try:
            if size % 2:
                reference = timed(lambda: f3.put(data, lifetime=lifetime, retrievals=retrievals,
                                                 timeout=timeout))
            else:
                buffer = timed(lambda: f3.alloc(max(size, 1), timeout=timeout))
                buffer.data[:size] = data
                reference = timed(lambda: buffer.put(size, lifetime=lifetime,
                                                     retrievals=retrievals, timeout=timeout))
        except f3.Error as error:
            code = error.code
        answers.append((reference, hashlib.sha256(data).hexdigest(), code, max(waits)))
    return answers
def read(view, timeout):
    digest, done = hashlib.sha256(), 0
    while done < view.size:
        timed(lambda: view.wait(done + 1, timeout))
        here = view.available
        digest.update(view.data[done:here])
        done = here
    return digest.hexdigest()
def get_all(values, timeout):
    answers = []
    for reference, digest, stream in values:
        waits.clear()
        good, code = False, None
        try:
            get = f3.stream if stream else f3.get
            view = timed(lambda: get(reference, timeout))
            good = read(view, timeout) == digest
        except f3.Error as error:
            code = error.code
        view = None
        answers.append((good, code, max(waits)))
    return answers
waits = []
"""

Round = collections.namedtuple("Round", "number owner getter victim harm hold shared")


class Rounds(XdtTest):

    TIME_LIMIT = MOST_SECONDS + 600

    def setUp(self):
        super().setUp()
        self.functions = {}
        self.addCleanup(self.end_functions)
        self.random = random.Random(SEED)
        self.harms = ["kill", "stop"] + [f"freeze{version}" for version in freezers()]
        if len(self.harms) == 2:
            print("no cgroup freezer can be used here: nobody is frozen")
        self.seen = collections.Counter()

    def end_functions(self):
        for function in self.functions.values():
            function.kill()
        self.functions.clear()

    def function(self, role, node):
        """The role's process at a node; it lives on from round to round until it is killed."""
        if (role, node) not in self.functions:
            function = self.functions[role, node] = Function(self.c, node)
            function.do(PIECES)
        return self.functions[role, node]

    def forget(self, function):
        for key, one in list(self.functions.items()):
            if one is function:
                del self.functions[key]
        function.kill()

    # ---- harming ----

    @contextlib.contextmanager
    def harmed(self, pid, harm, hold):
        """Harms a process for so many seconds."""
        if harm == "kill":
            os.kill(pid, signal.SIGKILL)
            yield
            return
        frozen = None
        if harm == "stop":
            os.kill(pid, signal.SIGSTOP)
        else:
            frozen = Frozen(pid, int(harm[-1]))
        try:
            yield
            time.sleep(hold)  # the harm itself
        finally:
            if frozen:
                frozen.thaw()
            else:
                os.kill(pid, signal.SIGCONT)

    # ---- what is expected ----

    def check_waits(self, what, waits, stood_still):
        for wait in waits:
            self.assertLess(wait, LATEST + stood_still, f"{what}: waited {wait:.1f} s")

    def allowed(self, what, r):
        """The errors that the sender or the receiver may get."""
        if r.victim == what:
            return {TIMEOUT}  # it stood still for longer than it would wait
        if r.victim in ("sender", "receiver"):
            return set()
        node = int(r.victim[1:])
        codes = set()
        if node == r.owner or (what == "receiver" and node == r.getter):
            codes = {TIMEOUT, UNAVAILABLE, UNREACHABLE}
        if what == "receiver" and node == r.owner and r.harm == "kill":
            codes.add(EARLIER)
        return codes

    def check_gets(self, r, what, answers):
        stood_still = r.hold if r.victim == what else 0
        self.check_waits(f"{what}, {r}", [wait for _, _, wait in answers], stood_still)
        for good, code, _ in answers:
            self.seen[what, code] += 1
            if code is None:
                self.assertTrue(good, f"{what} got wrong bytes, {r}")
            else:
                self.assertIn(code, self.allowed(what, r), f"{what}, {r}")

    def check_puts(self, r, answers):
        stood_still = r.hold if r.victim == "sender" else 0
        self.check_waits(f"sender, {r}", [wait for *_, wait in answers], stood_still)
        for reference, _, code, _ in answers:
            self.seen["sender", code] += 1
            if reference is None:
                self.assertIn(code, self.allowed("sender", r), f"sender, {r}")

    # ---- a round ----

    def size(self):
        """From nothing to 24 MiB, evenly on a logarithmic scale; some are whole pieces."""
        size = int(2 ** self.random.uniform(0, 24.6)) - 1
        return self.random.choice((size, size, size, max(1, size // MIB) * MIB))

    def choose(self, number):
        owner = self.random.choice((1, 2, 3))
        getter = self.random.choice((owner, *(n for n in (1, 2, 3) if n != owner)))
        return Round(number, owner, getter,
                     self.random.choice(("sender", "receiver", "n1", "n2", "n3")),
                     self.random.choice(self.harms),
                     # Now and then longer than anybody waits.
                     self.random.choice((*(self.random.uniform(0.05, 1) for _ in range(4)),
                                         self.random.uniform(1, 3), DEADLINE + 1.5)),
                     self.random.random() < 0.5)

    def play(self, r):
        sender = self.function("sender", r.owner)
        receiver = self.function("receiver", r.getter)
        third = self.function("third", ({1, 2, 3} - {r.owner, r.getter}).pop())
        sizes = [self.size() for _ in range(5)]
        put = f"put_all({sizes}, {4 if r.shared else 1}, {LIFETIME}, {DEADLINE})"
        before = sender.do(put, 60)
        self.assertFalse([answer for answer in before if answer[2] is not None], r)
        values = [(reference, digest, self.random.random() < 0.4)
                  for reference, digest, *_ in before]
        if r.shared:
            # So that there are copies to relay from.
            copied = third.do(f"get_all({values[:3]}, {DEADLINE})", 60)
            self.assertEqual([code for _, code, _ in copied], [None] * 3, r)
        receiver.start(f"get_all({values}, {DEADLINE})")
        sender.start(put)
        time.sleep(self.random.uniform(0, 0.2))  # the random point
        victim = {"sender": sender, "receiver": receiver}.get(r.victim)
        pid = victim.pid if victim else self.c.pid(r.victim)
        killed = None
        with self.harmed(pid, r.harm, r.hold):
            if victim and r.harm == "kill":
                killed = victim
        if receiver is not killed:
            self.check_gets(r, "receiver", receiver.result(90))
        puts = []
        if sender is not killed:
            puts = sender.result(90)
            self.check_puts(r, puts)
        if killed:
            self.forget(killed)
        elif not victim:
            self.c.wait_healthy()
        self.follow_up(r, puts, third)

    def follow_up(self, r, puts, third):
        """What was put meanwhile can be got, unless its broker has been killed since."""
        values = [(reference, digest, False) for reference, digest, *_ in puts if reference]
        restarted = r.victim == f"n{r.owner}" and r.harm == "kill"
        for good, code, _ in third.do(f"get_all({values}, 20)", 120):
            self.assertTrue(good or (restarted and code == EARLIER), f"afterwards: {code}, {r}")
        (reference, digest, _, _), = self.function("sender", r.owner).do(
            f"put_all([100_000], 1, {LIFETIME}, 20)", 60)
        (answer,) = self.function("receiver", r.getter).do(
            f"get_all({[(reference, digest, False)]}, 20)", 60)
        self.assertTrue(answer[0], f"afterwards: {answer[1]}, {r}")

    # ---- the end ----

    def figures(self):
        """Of every node: what its ledger says that values take, and what its agent holds of them."""
        found = []
        for node, status in enumerate(self.c.status()["nodes"], 1):
            agent = status["agent"]
            lines = {line["owner"]: line["used_bytes"] for line in agent["memory"]}
            found.append((lines["buffers"], lines["functions' buffers"], agent["xdt"]["objects"],
                          agent["xdt"]["connections"], buffers_in(self.c.pid(f"n{node}"))))
        return found

    def test_rounds(self):
        print(f"seed {SEED} (F3_SEED repeats it), {', '.join(self.harms)}", flush=True)
        start_figures = self.figures()
        self.assertEqual(start_figures, [(0, 0, 0, 0, 0)] * 3)
        end = time.monotonic() + MOST_SECONDS
        rounds = 0
        while rounds < ROUNDS and time.monotonic() < end:
            self.play(self.choose(rounds))
            rounds += 1
        self.end_functions()
        print(f"{rounds} rounds; {json.dumps({str(k): n for k, n in sorted(self.seen.items(), key=str)})}",
              flush=True)
        # Values that nobody got, and copies, have expired by then; places of pulls too.
        wait_until(lambda: self.figures() == start_figures, timeout=LIFETIME + 30,
                   what=f"memory to come back, {self.figures()}", interval=0.5)


if __name__ == "__main__":
    unittest.main()
