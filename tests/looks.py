"""What a verdict is made of: looks at ranks, and the calls in which they wait."""

from __future__ import annotations

from dataclasses import replace

from rankbook.diagnosis import diagnose
from rankbook.models import Collective, Look
from rankbook.models.calls import Making

REDUCE = Collective("all_reduce", "0", (), 5, ((4,),), ("float32",), since=12.0)
LINE = "line 3: dist.all_reduce(x)"
PROVEN, OPEN = True, False
IDLE = Look("idle")
SILENT = Look("no answer")
KILLED = Look("gone", ended="was killed by SIGKILL")
NEW_GROUP = Collective("new_group", "0", since=1.0)
HANDLE = Collective("wait", since=3.0)


def call(op="all_reduce", seq=5, **facts):
    """A call of the world's group, with the tensors of REDUCE unless said otherwise."""
    return replace(REDUCE, op=op, seq=seq, **facts)


def p2p(op, peer, **facts):
    return Collective(op, "0", peer=peer, since=2.0, **facts)


def pair(first, second, seq=2, op="all_reduce"):
    """A call of a subgroup of two."""
    return call(op, seq, group=f"{first}{second}", ranks=(first, second))


def waits(its=REDUCE, line=LINE, recent=(), still=1.0, quiet=2.0, silent=2.0):
    kept = (*recent, its) if its.seq is not None else recent
    return Look("waiting", line, 1, its, kept, still, quiet, silent)


def runs(line="line 4: time.sleep(20)", recent=()):
    return Look("running", line, 1, None, recent)


def idle(*recent, raised=""):
    return Look("idle", recent=recent, raised=raised)


def done(its):
    return replace(its, done=True)


def receives(peer, line="line 2: dist.recv(x)", **facts):
    return waits(p2p("recv", peer), line, **facts)


def sent_to_0(seq):
    return done(p2p("send", 0, seq=seq))


def sends(peer, line="line 2: dist.send(x)", **facts):
    return waits(p2p("send", peer), line, **facts)


RAISED = idle(raised="ValueError: no such file.")
ABORTED = Look(
    "gone",
    ended="was killed by SIGABRT",
    last_words=("terminate called", "  what(): op.preamble.length <= op.nbytes", ""),
)
MAKES = Collective("new_group", "0", (0, 1))
LOST = idle(raised="RuntimeError: Connection closed by peer [127.0.0.1]:1")
UNRECORDED = call(seq=None)
OF_FOUR = call(sizes=((4,),), dtypes=("float32",), line="train.py:6 in step")
OF_FIVE = call(sizes=((5,),), dtypes=("float32",), line="train.py:8 in step")
SENT = replace(OF_FIVE, op="send", seq=1, peer=1, tag=0, line="line 1: dist.send(x, 1)")
TAKEN = replace(OF_FOUR, op="recv", seq=1, peer=0, tag=0, line="line 2: dist.recv(y, 0)")


def making(name, *ranks, nth=1, epoch=1, line="", done=False):
    return Making(name, ranks, nth, epoch, line, done)


def makes(name, *ranks, line="line 3: g()", nth=1):
    """A rank that waits while it makes a group, of which it is told by its account as well."""
    wait = Collective("new_group", name, ranks, since=1.0, makes=True)
    groups = (making(name, *ranks, nth=nth, line=line),)
    return replace(waits(wait, line), groups=groups)


OVER = replace(IDLE, line="its cell has ended")
NEEDS_KEY = Collective("store.wait", since=1.0, entries=("ready",))


def judged(looks):
    return diagnose(dict(enumerate(looks)))
