from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest
from page import Page

from rankbook.diagnosis import diagnose
from rankbook.display.verdict import Verdict, to_html, to_text
from rankbook.models import Collective, Diagnosis, Look
from rankbook.models.calls import Making
from rankbook.ranks import parse

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


class Case(NamedTuple):
    looks: list[Look]
    kind: str
    ranks: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()
    proven: bool = False
    summary: str | None = None


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

CASES = {
    # -- groups made differently ---------------------------------------------------------------
    "a group is made of other members": Case(
        [
            makes("1", 0, 1, line="line 2: f()"),
            replace(IDLE, groups=(making("1", 1, 2, line="line 4", done=True),)),
            replace(IDLE, groups=(making("1", 1, 2, line="line 4", done=True),)),
        ],
        "mismatch",
        (0,),
        (0,),
        proven=True,
        summary="Rank 0 makes group 1 of ranks 0-1 (line 2: f()), where ranks 1-2 make it of "
        "ranks 1-2 (line 4).",
    ),
    "a rank has made a group more": Case(
        [makes("2", 0, 1, nth=2), makes("1", 0, 1, nth=1)],
        "mismatch",
        (0, 1),
        (0, 1),
        proven=True,
        summary="Rank 0 makes a group of ranks 0-1 as its 2nd (line 3: g()), where rank 1 makes a "
        "group of ranks 0-1 as its 1st (line 3: g()).",
    ),
    "a rank has made a group more, and the other end has gone on": Case(
        [
            makes("2", 0, 1, nth=2),
            replace(OVER, groups=(making("1", 0, 1, line="line 3: g()", done=True),)),
        ],
        "mismatch",
        (0, 1),
        (0,),
        proven=True,
        summary="Rank 0 makes a group of ranks 0-1 as its 2nd (line 3: g()), where rank 1 makes a "
        "group of ranks 0-1 as its 1st (line 3: g()).",
    ),
    "the other end has made an earlier group of these members only": Case(
        [
            replace(
                makes("2", 0, 1, nth=2),
                groups=(making("1", 0, 1, done=True), making("2", 0, 1, nth=2)),
            ),
            replace(OVER, groups=(making("1", 0, 1, done=True),)),
        ],
        "missing_rank",
        (1,),
        (0,),
        proven=True,
    ),
    "the other end has made a group fewer, and still runs": Case(
        [makes("2", 0, 1, nth=2), replace(runs(), groups=(making("1", 0, 1, done=True),))],
        "slow",
        (1,),
    ),
    "a collective of a group of other members, nobody missing": Case(
        [
            replace(
                waits(call(seq=1, group="1", ranks=(0, 1))),
                groups=(making("1", 0, 1, done=True),),
            ),
            replace(
                IDLE,
                groups=(making("1", 1, 2, done=True),),
                recent=(call(seq=1, group="1", ranks=(1, 2), done=True),),
            ),
            replace(IDLE, groups=(making("1", 1, 2, done=True),)),
        ],
        "mismatch",
        (0,),
        (0,),
        proven=True,
    ),
    "a group of that name was of another default group": Case(
        [makes("1", 0, 1), replace(runs(), groups=(making("1", 1, epoch=0, done=True),))],
        "slow",
        (1,),
    ),
    "the other end has made the group and gone on": Case(
        [makes("1", 0, 1), replace(IDLE, groups=(making("1", 0, 1, done=True),))], "running"
    ),
    "two ranks make different groups, each with the other": Case(
        [makes("1", 0, 1), makes("2", 0, 1, 2), makes("2", 0, 1, 2)],
        "mismatch",
        (0, 1),
        (0, 1, 2),
        PROVEN,
    ),
    # -- keys of a store -----------------------------------------------------------------------
    "a key that no rank set": Case(
        [waits(NEEDS_KEY, "line 3: f()"), OVER, OVER],
        "missing_rank",
        (1, 2),
        (0,),
        proven=True,
        summary="Ranks 1-2 never set ready, for which rank 0 waits (line 3: f()): "
        "their cells have ended.",
    ),
    "a key that a thread may set": Case(
        [waits(NEEDS_KEY), replace(OVER, threads=1)], "missing_rank", (1,), (0,)
    ),
    "a key that a rank may set that runs": Case([waits(NEEDS_KEY), runs(), IDLE], "slow", (1,)),
    # -- no culprit --------------------------------------------------------------------------
    "all idle": Case([IDLE] * 3, "idle", summary="Every rank is idle."),
    "one rank, idle": Case([IDLE], "idle", summary="Every rank is idle."),
    "no ranks at all": Case([], "idle"),
    "idle after an exception": Case([RAISED, IDLE], "idle", summary="Every rank is idle."),
    "all run": Case(
        [runs("line 2: train()")] * 4, "running", summary="Ranks 0-3 run line 2: train()."
    ),
    "one runs, the others are idle": Case(
        [IDLE, runs("line 2: train()"), IDLE],
        "running",
        summary="Rank 1 runs line 2: train().",
    ),
    "different lines": Case(
        [runs("line 2: f()"), runs("line 2: f()"), runs("line 7: g()")],
        "running",
        summary="Ranks 0-1 run line 2: f(), rank 2 runs line 7: g().",
    ),
    "every rank at another line": Case(
        [runs(f"line {i}: f()") for i in range(6)],
        "running",
        summary="Rank 0 runs line 0: f(), rank 1 runs line 1: f(), rank 2 runs line 2: f(), "
        "ranks 3-5 run.",
    ),
    "outside of a cell": Case(
        [runs("initialize"), runs("")],
        "running",
        summary="Rank 0 runs (initialize), rank 1 runs.",
    ),
    "all in the same collective": Case(
        [waits()] * 4,
        "running",
        summary="Ranks 0-3 wait in all_reduce #5 (line 3: dist.all_reduce(x)), "
        "where nobody is missing.",
    ),
    "one has passed on already": Case(
        [waits(), runs(recent=(done(REDUCE), call(seq=6)))], "running"
    ),
    "called asynchronously, not waited for": Case([waits(), idle(REDUCE)], "running"),
    "called later ones asynchronously": Case([waits(), idle(call(seq=9))], "running"),
    "names of the recorder": Case(
        [
            waits(call("gloo:all_reduce")),
            waits(call("allreduce")),
            waits(call("nccl:all_reduce")),
            waits(call("gloo:sparse_all_reduce")),
        ],
        "running",
    ),
    "variants of all_gather": Case(
        [
            waits(call("_allgather_base")),
            waits(call("all_gather_into_tensor")),
            waits(call("gloo:all_gather", sizes=((9,),))),
        ],
        "running",
    ),
    "variants of reduce_scatter": Case(
        [waits(call("reduce_scatter_tensor")), waits(call("nccl:_reduce_scatter_base"))],
        "running",
    ),
    "variants of all_to_all": Case(
        [waits(call("all_to_all_single", sizes=((3,),))), waits(call("alltoall_base"))], "running"
    ),
    "barriers": Case(
        [waits(call("barrier", dtypes=(), sizes=())), waits(call("nccl:all_reduce_barrier"))],
        "running",
    ),
    "other shapes, as many elements": Case(
        [waits(call(sizes=((2, 3),))), waits(call(sizes=((6,),)))], "running"
    ),
    "little known of one": Case([waits(call(sizes=(), dtypes=())), waits()], "running"),
    "gather from ranks with different sizes": Case(
        [waits(call("gather", sizes=((3,),), peer=0)), waits(call("gather", peer=0))], "running"
    ),
    "scatter, whose root alone has inputs": Case(
        [
            waits(call("scatter", sizes=((2,), (2,)), dtypes=("float32",) * 2)),
            waits(call("scatter", sizes=(), dtypes=())),
        ],
        "running",
    ),
    "send meets recv": Case(
        [sends(1), receives(0)],
        "running",
        summary="Rank 0 waits in send to 1 (line 2: dist.send(x)), rank 1 waits in recv from 0 "
        "(line 2: dist.recv(x)), where nobody is missing.",
    ),
    "send meets recv from anyone": Case([IDLE, sends(2), receives(None)], "running"),
    "isend and recv_object_list": Case(
        [waits(p2p("isend", 1)), waits(p2p("recv_object_list", 0))], "running"
    ),
    "unrecorded, all of them": Case([waits(UNRECORDED)] * 3, "running"),
    "a barrier that is not recorded": Case([waits(call("monitored_barrier", None))] * 2, "running"),
    "behind others that can go on": Case(
        [receives(1), waits(pair(1, 2)), waits(pair(1, 2))],
        "running",
        summary="Ranks 1-2 wait in all_reduce #2 of ranks 1-2 (line 3: dist.all_reduce(x)), where "
        "nobody is missing; rank 0 waits in recv from 1 (line 2: dist.recv(x)) for others that "
        "can go on.",
    ),
    "a subgroup is busy, the rest idle": Case(
        [waits(pair(0, 1)), waits(pair(0, 1)), IDLE], "running"
    ),
    "all make a group": Case([waits(NEW_GROUP)] * 3, "running"),
    "alone in the world": Case([waits()], "running"),
    # -- a rank is missing -------------------------------------------------------------------
    "one never called": Case(
        [waits(), IDLE, waits(), waits()],
        "missing_rank",
        (1,),
        (0, 2, 3),
        PROVEN,
        "Rank 1 never called all_reduce #5, in which ranks 0,2-3 wait "
        "(line 3: dist.all_reduce(x)): it runs no cell.",
    ),
    "two never called": Case(
        [waits(), IDLE, idle(call(seq=4)), waits()],
        "missing_rank",
        (1, 2),
        (0, 3),
        PROVEN,
        "Ranks 1-2 never called all_reduce #5, in which ranks 0,3 wait "
        "(line 3: dist.all_reduce(x)): they run no cell.",
    ),
    "seen too shortly": Case([waits(still=0.3), IDLE], "missing_rank", (1,), (0,), OPEN),
    "one of the stuck seen too shortly": Case(
        [waits(), IDLE, waits(still=0.39)], "missing_rank", (1,), (0, 2), OPEN
    ),
    "missing in a subgroup": Case(
        [IDLE, waits(pair(1, 2)), IDLE],
        "missing_rank",
        (2,),
        (1,),
        PROVEN,
        "Rank 2 never called all_reduce #2 of ranks 1-2, in which rank 1 waits "
        "(line 3: dist.all_reduce(x)): it runs no cell.",
    ),
    "numbers of another group do not count": Case(
        [waits(), idle(pair(0, 1, seq=9))], "missing_rank", (1,), (0,), PROVEN
    ),
    "one is missing while another runs": Case(
        [waits(), IDLE, runs()], "missing_rank", (1,), (0,), PROVEN
    ),
    "one is missing while another is silent": Case(
        [waits(), IDLE, SILENT], "missing_rank", (1,), (0,), PROVEN
    ),
    "no rank sends": Case(
        [receives(1), IDLE],
        "missing_rank",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 never called send, for which rank 0 waits in recv from 1 "
        "(line 2: dist.recv(x)): it runs no cell.",
    ),
    "no rank receives": Case(
        [sends(2), IDLE, IDLE],
        "missing_rank",
        (2,),
        (0,),
        PROVEN,
        "Rank 2 never called recv, for which rank 0 waits in send to 2 "
        "(line 2: dist.send(x)): it runs no cell.",
    ),
    "no rank sends to one that receives from any": Case(
        [receives(None), IDLE, IDLE],
        "missing_rank",
        (1, 2),
        (0,),
        PROVEN,
        "Ranks 1-2 never called send, for which rank 0 waits in recv from any rank "
        "(line 2: dist.recv(x)): they run no cell.",
    ),
    "one has sent less to one that receives from any": Case(
        [receives(None), idle(sent_to_0(1)), idle(sent_to_0(1), sent_to_0(2)), idle(sent_to_0(2))],
        "missing_rank",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 never called send, for which rank 0 waits in recv from any rank "
        "(line 2: dist.recv(x)): it runs no cell.",
    ),
    "one has sent less to one that receives from any, and another runs": Case(
        [receives(None), idle(sent_to_0(1)), runs(recent=(sent_to_0(2),))], "slow", (2,)
    ),
    "from anyone, not yet quiet": Case(
        [receives(None, quiet=0.9), IDLE], "missing_rank", (1,), (0,), OPEN
    ),
    "maybe from an isend before the cell's end": Case(
        [receives(1, quiet=0.9), IDLE], "missing_rank", (1,), (0,), OPEN
    ),
    "from an isend before the cell's end, over a slow link": Case(
        [receives(1, silent=0.01), IDLE], "missing_rank", (1,), (0,), OPEN
    ),
    "from an isend before the cell's end, if it is unknown what comes": Case(
        [receives(1, silent=None), IDLE], "missing_rank", (1,), (0,), PROVEN
    ),
    "a collective needs no quiet": Case(
        [waits(quiet=0.0, silent=0.0), IDLE], "missing_rank", (1,), (0,), PROVEN
    ),
    "a group that only one makes": Case(
        [waits(NEW_GROUP, "line 1: g()"), IDLE, IDLE],
        "missing_rank",
        (1, 2),
        (0,),
        PROVEN,
        "Ranks 1-2 never called new_group, in which rank 0 waits (line 1: g()): they run no cell.",
    ),
    "a group that only one makes, not yet quiet": Case(
        [waits(NEW_GROUP, quiet=0.9), IDLE, IDLE], "missing_rank", (1, 2), (0,), OPEN
    ),
    "a chain that ends at an idle rank": Case(
        [receives(1), receives(2), IDLE], "missing_rank", (2,), (0, 1), PROVEN
    ),
    "two lack the same rank": Case(
        [receives(1), IDLE, receives(1)],
        "missing_rank",
        (1,),
        (0, 2),
        PROVEN,
        "Rank 1 never called send, for which ranks 0,2 wait in recv from 1 "
        "(line 2: dist.recv(x)): it runs no cell.",
    ),
    "an unrecorded barrier": Case(
        [waits(call("monitored_barrier", None), "line 1: b()"), IDLE],
        "missing_rank",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 never called monitored_barrier, in which rank 0 waits (line 1: b()): "
        "it runs no cell.",
    ),
    "two subgroups, each lacks one": Case(
        [waits(pair(0, 1)), IDLE, waits(pair(2, 3)), IDLE], "missing_rank", (1,), (0, 2), PROVEN
    ),
    "a handle, two ranks in the world": Case(
        [waits(HANDLE, "line 5: h.wait()"), IDLE],
        "missing_rank",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 will not come (it runs no cell), and rank 0 waits for it in a handle's wait() "
        "(line 5: h.wait()).",
    ),
    "a stuck rank that is told nothing of": Case(
        [replace(waits(), waiting=None, recent=()), IDLE], "missing_rank", (1,), (0,), PROVEN
    ),
    # -- a rank raised -----------------------------------------------------------------------
    "one raised": Case(
        [waits(), waits(), RAISED, waits()],
        "raised",
        (2,),
        (0, 1, 3),
        PROVEN,
        "Rank 2 raised ValueError: no such file, and ranks 0-1,3 wait for it in all_reduce #5 "
        "(line 3: dist.all_reduce(x)).",
    ),
    "two raised the same": Case(
        [waits(), RAISED, RAISED],
        "raised",
        (1, 2),
        (0,),
        PROVEN,
        "Ranks 1-2 raised ValueError: no such file, and rank 0 waits for them in all_reduce #5 "
        "(line 3: dist.all_reduce(x)).",
    ),
    "two raised different things": Case(
        [waits(), RAISED, idle(raised="KeyError: 'a'\nsecond line")],
        "raised",
        (1, 2),
        (0,),
        PROVEN,
        "Rank 1 raised ValueError: no such file and rank 2 raised KeyError: 'a', and rank 0 waits "
        "for them in all_reduce #5 (line 3: dist.all_reduce(x)).",
    ),
    "one raised, another is idle": Case([waits(), IDLE, RAISED], "raised", (2,), (0,), PROVEN),
    "raised after it had started its part": Case(
        [waits(), replace(RAISED, recent=(REDUCE,))], "running"
    ),
    "raised, and one waits for a handle": Case(
        [waits(HANDLE, "line 5: h.wait()"), RAISED, IDLE],
        "raised",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 raised ValueError: no such file, and rank 0 waits for it in a handle's wait() "
        "(line 5: h.wait()).",
    ),
    "raised instead of sending": Case(
        [RAISED, receives(0)],
        "raised",
        (0,),
        (1,),
        PROVEN,
        "Rank 0 raised ValueError: no such file, and rank 1 waits for it in recv from 0 "
        "(line 2: dist.recv(x)).",
    ),
    # -- calls that do not match -------------------------------------------------------------
    "two different collectives": Case(
        [waits(), waits(call("broadcast", peer=0), "line 5: dist.broadcast(x, 0)")],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 call different collectives as #5: rank 0 all_reduce "
        "(line 3: dist.all_reduce(x)), rank 1 broadcast from 0 (line 5: dist.broadcast(x, 0)).",
    ),
    "one differs from the majority": Case(
        [waits(), waits(call("broadcast", peer=0), "line 5: b()"), waits(), waits()],
        "mismatch",
        (1,),
        (0, 1, 2, 3),
        PROVEN,
        "Rank 1 calls broadcast #5 from 0 (line 5: b()), where ranks 0,2-3 call all_reduce #5 "
        "(line 3: dist.all_reduce(x)).",
    ),
    "half and half": Case(
        [waits(), waits(), waits(call("barrier")), waits(call("barrier"))],
        "mismatch",
        (0, 1, 2, 3),
        (0, 1, 2, 3),
        PROVEN,
    ),
    "three sorts, one of them the majority's": Case(
        [*[waits()] * 3, waits(call("barrier"), ""), waits(call("gather", peer=3), "")],
        "mismatch",
        (3, 4),
        (0, 1, 2, 3, 4),
        PROVEN,
        "Ranks 0-4 call different collectives as #5: ranks 0-2 all_reduce "
        "(line 3: dist.all_reduce(x)), rank 3 barrier, rank 4 gather to 3.",
    ),
    "different sizes": Case(
        [waits(), waits(call(sizes=((5,),)), "line 4: r(y)")],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 call all_reduce #5 differently: rank 0 with 4 elements of float32 "
        "(line 3: dist.all_reduce(x)), rank 1 with 5 elements of float32 (line 4: r(y)).",
    ),
    "one with another size": Case(
        [waits(), waits(call(sizes=((),))), waits()],
        "mismatch",
        (1,),
        (0, 1, 2),
        PROVEN,
        "Rank 1 calls all_reduce #5 with 1 element of float32, where ranks 0,2 call it with 4 "
        "elements of float32 (line 3: dist.all_reduce(x)).",
    ),
    "different dtypes": Case(
        [waits(call("all_gather")), waits(call("all_gather", dtypes=("int64",)))],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
    ),
    "different roots": Case(
        [waits(call("broadcast", peer=0), ""), waits(call("broadcast", peer=1), "")],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 call broadcast #5 differently: rank 0 from 0, rank 1 from 1.",
    ),
    "the root has gone ahead": Case(
        [
            runs(recent=(done(call("broadcast")),)),
            waits(),
            waits(),
        ],
        "mismatch",
        (0,),
        (1, 2),
        PROVEN,
        "Rank 0 calls broadcast #5, where ranks 1-2 call all_reduce #5 "
        "(line 3: dist.all_reduce(x)).",
    ),
    "the root has ended": Case(
        [idle(done(call("broadcast"))), waits()], "mismatch", (0, 1), (1,), PROVEN
    ),
    "roots of which one is not known": Case(
        [
            idle(done(call("broadcast"))),
            waits(call("broadcast", peer=0)),
            waits(call("broadcast", peer=1), ""),
        ],
        "mismatch",
        (2,),
        (1, 2),
        PROVEN,
        "Rank 2 calls broadcast #5 from 1, where ranks 0-1 call it from 0 "
        "(line 3: dist.all_reduce(x)).",
    ),
    "a mismatch in a subgroup": Case(
        [waits(pair(0, 1), ""), waits(pair(0, 1, op="barrier"), ""), IDLE],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 call different collectives as #2 of ranks 0-1: rank 0 all_reduce, "
        "rank 1 barrier.",
    ),
    "a mismatch where one is missing, too": Case(
        [waits(), waits(call("barrier")), IDLE], "mismatch", (0, 1), (0, 1), PROVEN
    ),
    "a mismatch where one still runs": Case(
        [waits(), waits(call("barrier")), runs()], "mismatch", (0, 1), (0, 1), PROVEN
    ),
    "unrecorded, different": Case(
        [waits(UNRECORDED), waits(call("barrier", None), ""), waits(UNRECORDED)],
        "mismatch",
        (1,),
        (0, 1, 2),
        PROVEN,
        "Rank 1 calls barrier, where ranks 0,2 call all_reduce (line 3: dist.all_reduce(x)).",
    ),
    "unrecorded, of different sizes": Case(
        [waits(UNRECORDED), waits(replace(UNRECORDED, sizes=((5,),)))],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
    ),
    "one that is recorded, one that is not": Case(
        [waits(line=""), waits(call("monitored_barrier", None), "")],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 call different collectives: rank 0 all_reduce #5, rank 1 monitored_barrier.",
    ),
    "both receive": Case(
        [receives(1), receives(0)],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 wait for each other: rank 0 in recv from 1, rank 1 in recv from 0 "
        "(line 2: dist.recv(x)).",
    ),
    "both receive what may have been sent asynchronously": Case(
        [receives(1, quiet=0.1), receives(0)], "mismatch", (0, 1), (0, 1), OPEN
    ),
    "both send": Case([sends(1), sends(0)], "mismatch", (0, 1), (0, 1), PROVEN),
    "a ring that only receives": Case(
        [receives((rank - 1) % 5, "") for rank in range(5)],
        "mismatch",
        (0, 1, 2, 3, 4),
        (0, 1, 2, 3, 4),
        PROVEN,
        "Ranks 0-4 wait for each other: rank 0 in recv from 4, rank 1 in recv from 0, rank 2 in "
        "recv from 1, ranks 3-4 likewise.",
    ),
    "a rank that waits behind a cycle is no culprit": Case(
        [receives(1), receives(2), receives(1)], "mismatch", (1, 2), (0, 1, 2), PROVEN
    ),
    "recv while the others reduce": Case(
        [receives(1), waits(), waits()],
        "mismatch",
        (0, 1),
        (0, 1, 2),
        PROVEN,
        "Ranks 0-1 wait for each other: rank 0 in recv from 1 (line 2: dist.recv(x)), rank 1 in "
        "all_reduce #5 (line 3: dist.all_reduce(x)).",
    ),
    "subgroups in another order": Case(
        [waits(pair(0, 1), ""), waits(pair(1, 2), ""), waits(pair(0, 2), "")],
        "mismatch",
        (0, 1, 2),
        (0, 1, 2),
        PROVEN,
        "Ranks 0-2 wait for each other: rank 0 in all_reduce #2 of ranks 0-1, rank 1 in "
        "all_reduce #2 of ranks 1-2, rank 2 in all_reduce #2 of ranks 0,2.",
    ),
    "a mismatch is worse than what is missing": Case(
        [waits(pair(0, 1)), IDLE, receives(3), receives(2)],
        "mismatch",
        (2, 3),
        (0, 2, 3),
        PROVEN,
    ),
    # -- a rank has ended --------------------------------------------------------------------
    "killed": Case(
        [waits(), KILLED, waits()],
        "dead",
        (1,),
        (0, 2),
        PROVEN,
        "Rank 1 was killed by SIGKILL while ranks 0,2 waited for it in all_reduce #5 "
        "(line 3: dist.all_reduce(x)).",
    ),
    "killed while no rank waits": Case(
        [IDLE, KILLED], "dead", (1,), summary="Rank 1 was killed by SIGKILL."
    ),
    "two killed": Case(
        [runs(), KILLED, KILLED], "dead", (1, 2), summary="Ranks 1-2 were killed by SIGKILL."
    ),
    "ended in different ways": Case(
        [waits(), KILLED, Look("gone", ended="ended with exit code 3", last_words=("bye",))],
        "dead",
        (1, 2),
        (0,),
        PROVEN,
        "Rank 1 was killed by SIGKILL and rank 2 ended with exit code 3 while rank 0 waited for "
        "them in all_reduce #5 (line 3: dist.all_reduce(x)); last words of rank 2: bye.",
    ),
    "it is not known how": Case([Look("gone"), IDLE], "dead", (0,), summary="Rank 0 has ended."),
    "two ended, one is waited for": Case(
        [waits(pair(0, 1)), KILLED, KILLED],
        "dead",
        (1, 2),
        (0,),
        PROVEN,
        "Ranks 1-2 were killed by SIGKILL while rank 0 waited for rank 1 in all_reduce #2 of "
        "ranks 0-1 (line 3: dist.all_reduce(x)).",
    ),
    "aborted by gloo": Case(
        [waits(), ABORTED],
        "dead",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 was killed by SIGABRT while rank 0 waited for it in all_reduce #5 "
        "(line 3: dist.all_reduce(x)); its last words: what(): op.preamble.length <= op.nbytes. "
        "Gloo ends a process when sizes or dtypes differ between ranks: "
        "%dist_init --check says so beforehand.",
    ),
    "aborted by gloo, whose descriptors a cell has closed": Case(
        [IDLE, replace(ABORTED, last_words=("nfds != -1. -1 vs -1",))],
        "dead",
        (1,),
        summary="Rank 1 was killed by SIGABRT; its last words: nfds != -1. -1 vs -1. It had closed "
        "descriptors that the process itself needs, as daemons do (os.closerange): close them in a "
        "process that it forks.",
    ),
    "aborted by gloo, the others raised": Case(
        [idle(raised="RuntimeError: Connection closed by peer [127.0.0.1]:1"), ABORTED],
        "dead",
        (1,),
        summary="Rank 1 was killed by SIGABRT; its last words: what(): op.preamble.length <= "
        "op.nbytes. Gloo ends a process when sizes or dtypes differ between ranks: "
        "%dist_init --check says so beforehand.",
    ),
    "aborted in a call that did not match": Case(
        [
            replace(LOST, recent=(OF_FOUR,)),
            replace(ABORTED, waiting=OF_FIVE, recent=(OF_FIVE,), line=OF_FIVE.line, last_words=()),
        ],
        "mismatch",
        (0, 1),
        summary="Ranks 0-1 call all_reduce #5 differently: rank 0 with 4 elements of float32 "
        "(train.py:6 in step), rank 1 with 5 elements of float32 (train.py:8 in step). Rank 1 was "
        "killed by SIGABRT in all_reduce #5 of 5 float32 (train.py:8 in step). Gloo ends a process "
        "when sizes or dtypes differ between ranks: %dist_init --check says so beforehand.",
    ),
    "aborted in a recv of less than was sent": Case(
        [
            replace(IDLE, recent=(SENT,)),
            replace(ABORTED, waiting=TAKEN, recent=(TAKEN,), line=TAKEN.line, last_words=()),
        ],
        "mismatch",
        (0, 1),
        summary="Rank 0 sends 5 elements of float32 to 1 (line 1: dist.send(x, 1)), where rank 1 "
        "receives 4 elements of float32 (line 2: dist.recv(y, 0)). Rank 1 was killed by SIGABRT in "
        "recv from 0 of 4 float32 (line 2: dist.recv(y, 0)).",
    ),
    "killed in a call that matched": Case(
        [waits(OF_FOUR), replace(KILLED, waiting=OF_FOUR, recent=(OF_FOUR,), line=OF_FOUR.line)],
        "dead",
        (1,),
        (0,),
        PROVEN,
        "Rank 1 was killed by SIGKILL in all_reduce #5 of 4 float32 (train.py:6 in step) while "
        "rank 0 waited for it in all_reduce #5 (line 3: dist.all_reduce(x)).",
    ),
    "killed after its last call": Case(
        [IDLE, replace(KILLED, recent=(replace(OF_FOUR, done=True),))],
        "dead",
        (1,),
        summary="Rank 1 was killed by SIGKILL after all_reduce #5 (train.py:6 in step).",
    ),
    "killed with an asynchronous call under way": Case(
        [IDLE, replace(KILLED, recent=(OF_FOUR,), line="line 9")],
        "dead",
        (1,),
        summary="Rank 1 was killed by SIGKILL at line 9, with all_reduce #5 under way "
        "(train.py:6 in step).",
    ),
    "members of a new group wait for each other only": Case(
        [waits(MAKES), waits(MAKES), IDLE],
        "running",
    ),
    "a member of a new group is missing": Case(
        [waits(MAKES), IDLE, IDLE],
        "missing_rank",
        (1,),
        (0,),
        PROVEN,
    ),
    "aborted for other reasons": Case(
        [IDLE, replace(ABORTED, last_words=())],
        "dead",
        (1,),
        summary="Rank 1 was killed by SIGABRT.",
    ),
    "what it called before it ended does not help": Case(
        [waits(), replace(KILLED, recent=(REDUCE,))], "dead", (1,), (0,), PROVEN
    ),
    "one ended, another raised": Case([RAISED, KILLED, waits()], "dead", (1,), (2,), PROVEN),
    # -- it only takes long ------------------------------------------------------------------
    "one still runs": Case(
        [waits(), runs(), waits(), waits()],
        "slow",
        (1,),
        summary="Rank 1 still runs (line 4: time.sleep(20)); ranks 0,2-3 have waited for it in "
        "all_reduce #5 for 12 s.",
    ),
    "two still run": Case(
        [waits(call(since=0.0)), runs(), runs("")],
        "slow",
        (1, 2),
        summary="Rank 1 still runs (line 4: time.sleep(20)), rank 2 still runs; rank 0 has waited "
        "for them in all_reduce #5.",
    ),
    "behind one that waits for one that runs": Case(
        [receives(1), receives(2), runs()],
        "slow",
        (2,),
        summary="Rank 2 still runs (line 4: time.sleep(20)); rank 1 has waited for it in "
        "recv from 2 for 2.0 s.",
    ),
    "a pipeline that goes on": Case([runs(), receives(0), receives(1), receives(2)], "slow", (0,)),
    "from any rank, one of which runs": Case([receives(None), IDLE, runs()], "slow", (2,)),
    "a handle, and one runs": Case([waits(HANDLE), IDLE, runs()], "slow", (2,)),
    "a group of two of which one still runs": Case(
        [waits(NEW_GROUP), runs(), IDLE],
        "slow",
        (1,),
        summary="Rank 1 still runs (line 4: time.sleep(20)); rank 0 has waited for it in new_group "
        "for 1.0 s.",
    ),
    "a barrier of ranks that receive first": Case(
        [waits(call("monitored_barrier", None)), receives(2), runs()], "slow", (2,)
    ),
    # -- it is not known ---------------------------------------------------------------------
    "no answer": Case([IDLE, SILENT], "unknown", (1,), summary="Rank 1 does not answer."),
    "no answer from two": Case(
        [runs(), SILENT, SILENT], "unknown", (1, 2), summary="Ranks 1-2 do not answer."
    ),
    "no answer from one that is needed": Case(
        [waits(), waits(), SILENT],
        "unknown",
        (2,),
        summary="Rank 2 does not answer; ranks 0-1 have waited for it in all_reduce #5 for 12 s.",
    ),
    "no answer, another still runs": Case([waits(), SILENT, runs()], "slow", (2,)),
    "a state of another version": Case([waits(), Look("compiling")], "unknown", (1,)),
    "all wait for handles": Case(
        [waits(HANDLE, "line 5: h.wait()"), waits(HANDLE, "line 5: h.wait()"), IDLE],
        "unknown",
        (),
        (0, 1),
        PROVEN,
        "Ranks 0-1 cannot go on, but too little is known of what they wait for: "
        "ranks 0-1 in a handle's wait() (line 5: h.wait()).",
    ),
    "handles, not yet quiet": Case(
        [waits(HANDLE, quiet=0.9), waits(HANDLE)], "unknown", (), (0, 1), OPEN
    ),
    "one handle, one idle with reason": Case(
        [waits(HANDLE, ""), IDLE, IDLE],
        "unknown",
        (),
        (0,),
        PROVEN,
        "Rank 0 cannot go on, but too little is known of what it waits for: "
        "rank 0 in a handle's wait().",
    ),
    "one makes a group while the others reduce": Case(
        [waits(NEW_GROUP, ""), waits(line=""), waits(line="")],
        "unknown",
        (),
        (0, 1, 2),
        PROVEN,
        "Ranks 0-2 cannot go on, but too little is known of what they wait for: "
        "rank 0 in new_group, ranks 1-2 in all_reduce #5.",
    ),
    "a circle over a handle": Case(
        [waits(HANDLE, ""), receives(0, "")],
        "unknown",
        (),
        (0, 1),
        PROVEN,
        "Ranks 0-1 cannot go on, but too little is known of what they wait for: "
        "rank 0 in a handle's wait(), rank 1 in recv from 0.",
    ),
    "isends and irecvs in one batch": Case(
        [waits(Collective("batch_isend_irecv")), waits(HANDLE)], "unknown", (), (0, 1), PROVEN
    ),
}


def judged(looks):
    return diagnose(dict(enumerate(looks)))


@pytest.mark.parametrize("name", CASES)
def test_looks_give_the_expected_verdict(name):
    case = CASES[name]
    found = judged(case.looks)
    assert (found.kind, found.ranks, found.stuck, found.proven) == (
        case.kind,
        case.ranks,
        case.stuck,
        case.proven,
    )
    if case.summary is not None:
        assert found.summary == case.summary


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_is_a_sentence_and_every_rank_has_its_phrase(name):
    case = CASES[name]
    found = judged(case.looks)
    assert re.fullmatch(r"[A-Z].*\.", found.summary)
    assert not re.search(r"  |None|\s[.,;:]", found.summary)
    assert list(found.per_rank) == list(range(len(case.looks)))
    assert all(phrase and "\n" not in phrase for phrase in found.per_rank.values())


@pytest.mark.parametrize(
    ("look", "phrase"),
    [
        (
            waits(call(sizes=((2, 3),), since=2.14)),
            "waits in all_reduce #5 of 2x3 float32 for 2.1 s (line 3: dist.all_reduce(x))",
        ),
        (waits(pair(0, 1), ""), "waits in all_reduce #2 of 4 float32 of ranks 0-1 for 12 s"),
        (
            waits(call("gloo:broadcast", sizes=((),), peer=1, since=9.96), ""),
            "waits in broadcast #5 from 1 of a float32 scalar for 10 s",
        ),
        (
            waits(call("_allgather_base", sizes=(), since=0.01), ""),
            "waits in all_gather_into_tensor #5 of float32",
        ),
        (
            waits(call("all_to_all", sizes=((1,), (2,)), dtypes=("int64",) * 2, since=0), ""),
            "waits in all_to_all #5 of 2 tensors",
        ),
        (waits(call("barrier", dtypes=(), since=0.06), ""), "waits in barrier #5 for 0.1 s"),
        (receives(1), "waits in recv from 1 for 2.0 s (line 2: dist.recv(x))"),
        (receives(None, ""), "waits in recv from any rank for 2.0 s"),
        (sends(1, ""), "waits in send to 1 for 2.0 s"),
        (waits(HANDLE, "line 5: h()"), "waits in a handle's wait() for 3.0 s (line 5: h())"),
        (Look("waiting"), "waits in a handle's wait()"),
        (runs("line 4: f()"), "runs line 4: f()"),
        (runs("initialize"), "runs (initialize)"),
        (runs(""), "runs"),
        (runs("line 4: " + "x" * 200), "runs line 4: " + "x" * 90 + " …"),
        (IDLE, "idle: it runs no cell"),
        (RAISED, "raised ValueError: no such file"),
        (KILLED, "was killed by SIGKILL"),
        (Look("gone"), "has ended"),
        (SILENT, "does not answer"),
    ],
)  # fmt: skip
def test_a_rank_is_described_in_a_phrase(look, phrase):
    assert judged([look, IDLE, IDLE]).per_rank[0] == phrase


def test_a_group_of_all_ranks_needs_no_name():
    its = replace(REDUCE, group="7", ranks=(0, 1))
    assert "of ranks" not in judged([waits(its), IDLE]).summary


# -- what holds of all verdicts ----------------------------------------------------------------


def renamed_call(its, new):
    return replace(
        its,
        ranks=tuple(sorted(new[rank] for rank in its.ranks)),
        peer=None if its.peer is None else new[its.peer],
    )


def renamed(look, new):
    return replace(
        look,
        waiting=look.waiting and renamed_call(look.waiting, new),
        recent=tuple(renamed_call(its, new) for its in look.recent),
    )


BY_NUMBER = {"two subgroups, each lacks one", "roots of which one is not known"}
"""Where the lowest rank decides, which is another one under other numbers."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_NUMBER])
def test_other_numbers_of_ranks_give_the_same_verdict(name):
    looks = CASES[name].looks
    before = judged(looks)
    for order in itertools.islice(itertools.permutations(range(len(looks))), 1, 30):
        new = dict(enumerate(order))
        after = diagnose({new[rank]: renamed(look, new) for rank, look in enumerate(looks)})
        assert (after.kind, after.proven) == (before.kind, before.proven)
        assert after.ranks == tuple(sorted(new[rank] for rank in before.ranks))
        assert after.stuck == tuple(sorted(new[rank] for rank in before.stuck))


def test_the_order_in_which_looks_come_does_not_matter():
    for case in CASES.values():
        looks = dict(enumerate(case.looks))
        assert diagnose(dict(reversed(looks.items()))) == diagnose(looks)


@pytest.mark.parametrize(
    "its",
    [
        REDUCE,
        UNRECORDED,
        HANDLE,
        call("monitored_barrier", None),
        p2p("recv", 3),
        p2p("send", 3),
        p2p("recv", None),
    ],
    ids=lambda its: f"{its.op} {its.seq} {its.peer}",
)
def test_a_running_rank_that_all_need_leaves_no_rank_stuck(its):
    found = judged([waits(its, still=1e6, quiet=1e6, silent=1e6)] * 3 + [runs()])
    assert (found.kind, found.ranks, found.stuck, found.proven) == ("slow", (3,), (), False)


@pytest.mark.parametrize("state", ["running", "no answer"])
@pytest.mark.parametrize("name", CASES)
def test_a_rank_that_may_go_on_leaves_no_rank_stuck(name, state):
    looks = CASES[name].looks
    stuck = set(judged(looks).stuck)
    for rank, look in enumerate(looks):
        moving = replace(look, state=state, waiting=None)
        assert stuck.issuperset(judged([*looks[:rank], moving, *looks[rank + 1 :]]).stuck)


def any_look(random, size):
    ranks = tuple(sorted(random.sample(range(size), 2)))
    calls = [
        call(random.choice(["all_reduce", "barrier"]), random.choice([4, 5, None]), since=1.0),
        pair(*ranks, seq=random.choice([2, None])),
        p2p(random.choice(["send", "recv"]), random.choice(range(size))),
        p2p("recv", None),
        HANDLE,
    ]
    recent = tuple(call(seq=seq) for seq in range(3, random.choice([3, 4, 5, 6])))
    waiting = waits(random.choice(calls), recent=recent)
    others = [runs(recent=recent), idle(*recent), RAISED, SILENT, KILLED]
    return random.choices([waiting, *others], [60, 4, 10, 2, 1, 1])[0]


@pytest.mark.parametrize("seed", range(200))
def test_every_random_world_gets_a_consistent_verdict(seed):
    random = Random(seed)
    size = random.choice([2, 3, 4])
    looks = [any_look(random, size) for _ in range(size)]
    found = judged(looks)
    assert re.fullmatch(r"[A-Z].*\.", found.summary)
    assert all(looks[rank].state == "waiting" for rank in found.stuck)
    assert not found.stuck or found.kind in {
        "dead",
        "mismatch",
        "raised",
        "missing_rank",
        "unknown",
    }
    new = dict(enumerate(random.sample(range(size), size)))
    after = diagnose({new[rank]: renamed(look, new) for rank, look in enumerate(looks)})
    assert (after.kind, after.proven) == (found.kind, found.proven)
    assert after.stuck == tuple(sorted(new[rank] for rank in found.stuck))


def within(look, ranks):
    """The same look, where calls of the world's group say which ranks that has."""

    def told(its):
        return its if its.ranks else replace(its, group="5ffe", ranks=ranks)

    return replace(
        look, waiting=look.waiting and told(look.waiting), recent=tuple(map(told, look.recent))
    )


def concerns_known_ranks(look):
    return look.state != "waiting" or (look.waiting and look.waiting.op in KNOWN_OPS)


KNOWN_OPS = {"all_reduce", "barrier", "broadcast", "gather", "monitored_barrier", "recv", "send"}
SURE = [n for n, case in CASES.items() if case.looks and all(map(concerns_known_ranks, case.looks))]


@pytest.mark.parametrize(
    "more", [IDLE, waits(pair(90, 91))], ids=["idle", "in a collective of their own"]
)
@pytest.mark.parametrize("name", SURE)
def test_a_healthy_subgroup_does_not_change_the_verdict(name, more):
    ranks = tuple(range(len(CASES[name].looks)))
    looks = {rank: within(look, ranks) for rank, look in enumerate(CASES[name].looks)}
    before, after = diagnose(looks), diagnose({**looks, 90: more, 91: more})
    assert (after.ranks, after.stuck, after.proven) == (before.ranks, before.stuck, before.proven)
    if before.kind not in {"idle", "running"}:
        assert after.kind == before.kind
        assert after.summary.replace(f" of ranks 0-{ranks[-1]}", "") == before.summary


@pytest.mark.parametrize("name", CASES)
def test_a_wait_seen_for_a_moment_only_proves_nothing(name):
    found = judged([replace(look, still=0.05) for look in CASES[name].looks])
    assert not found.proven
    assert (found.kind, found.stuck) == (CASES[name].kind, CASES[name].stuck)


@pytest.mark.parametrize("name", CASES)
def test_only_ranks_that_wait_are_stuck_and_only_stuck_ones_prove_anything(name):
    case = CASES[name]
    found = judged(case.looks)
    assert all(case.looks[rank].state == "waiting" for rank in found.stuck)
    assert found.stuck or not found.proven
    if found.kind in {"idle", "running", "slow"}:
        assert not found.stuck


def test_a_verdict_on_very_many_ranks_takes_little_time():
    recent = tuple(call(seq=seq, group=str(group)) for group in range(4) for seq in range(32))
    looks = [waits(call(seq=40), recent=recent)] * 255 + [IDLE]
    found = judged(looks)
    assert found.ranks == (255,)
    assert len(found.stuck) == 255


def test_the_diagnosis_imports_no_torch():
    code = (
        "import sys, rankbook.diagnosis, rankbook.display.verdict\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- how it looks ------------------------------------------------------------------------------

SHOWN = Diagnosis(
    "mismatch",
    (1,),
    "Rank 1 calls barrier #5, where ranks 0,2 call all_reduce #5.",
    {10: "idle: it runs no cell", 0: "waits in all_reduce #5", 1: "waits in barrier #5"},
    (0, 1),
    PROVEN,
)

SHOWN_AS_TEXT = """\
Rank 1 calls barrier #5, where ranks 0,2 call all_reduce #5.
ranks  part          what they do
    1  cause, stuck  waits in barrier #5
    0  stuck         waits in all_reduce #5
   10                idle: it runs no cell"""


def test_a_verdict_is_written_as_text():
    assert to_text(SHOWN) == SHOWN_AS_TEXT


def test_a_verdict_is_written_as_html():
    page = Page(to_html(SHOWN))
    assert page.open == []
    assert page.caption == f"◆ {SHOWN.summary}"
    assert page.rows == [
        ["ranks", "part", "what they do"],
        ["1", "◆ cause, stuck", "waits in barrier #5"],
        ["0", "■ stuck", "waits in all_reduce #5"],
        ["10", "", "idle: it runs no cell"],
    ]


def test_a_verdict_displays_itself():
    assert repr(Verdict(SHOWN)) == SHOWN_AS_TEXT
    assert Verdict(SHOWN)._repr_html_() == to_html(SHOWN)


def test_a_verdict_without_ranks_is_shown_as_its_sentence():
    nothing = Diagnosis("idle", (), "Every rank is idle.")
    assert to_text(nothing) == "Every rank is idle."
    assert "Every rank is idle." in to_html(nothing)
    assert "<table" not in to_html(nothing)


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_can_be_displayed(name):
    found = judged(CASES[name].looks)
    page = Page(to_html(found))
    if not found.per_rank:
        assert page.rows == []
        return
    named = [rank for row in page.rows[1:] for rank in parse(row[0], len(found.per_rank))]
    assert sorted(named) == sorted(found.per_rank)
    lines = to_text(found).splitlines()
    assert lines[0] == found.summary
    assert (lines[1] == found.hint) == bool(found.hint)
    causes = [row for row in page.rows[1:] if row[1].startswith("◆ cause")]
    assert [rank for row in causes for rank in parse(row[0], len(found.per_rank))] == list(
        found.ranks
    )
    assert page.rows[1 : 1 + len(causes)] == causes, "the cause stands first"


def test_text_of_the_user_is_escaped_in_a_verdict():
    evil = "line 1: <b onmouseover='x'>\"&"
    html = to_html(judged([waits(line=evil), IDLE]))
    assert "<b " not in html
    assert evil in Page(html).caption
    assert evil in Page(html).rows[2][2]


def test_a_verdict_says_nothing_by_colour_alone():
    plain = Page(re.sub(r"color: [^;\"]*", "", to_html(SHOWN)))
    assert [row[1].split()[1:] for row in plain.rows[1:]] == [["cause,", "stuck"], ["stuck"], []]


def test_a_verdict_hides_shapes_from_screen_readers_and_heads_its_columns():
    tags = Page(to_html(SHOWN)).tags
    assert all(attrs["aria-hidden"] == "true" for tag, attrs in tags if tag == "span")
    assert [attrs["scope"] for tag, attrs in tags if tag == "th"] == ["col"] * 3


def test_the_html_of_a_verdict_loads_nothing():
    assert not re.search(r"<script|<link|<style|class=|https?:", to_html(SHOWN))


def test_many_ranks_that_do_the_same_share_a_line():
    per_rank = {rank: f"waits in barrier for {7 + rank / 10:.1f} s" for rank in range(12)}
    per_rank[5] = "idle"
    stuck = tuple(rank for rank in per_rank if rank != 5)
    found = Diagnosis("missing_rank", (5,), "Rank 5 never came.", per_rank, stuck, proven=True)
    assert to_text(found).splitlines() == [
        "Rank 5 never came.",
        "   ranks  part   what they do",
        "       5  cause  idle",
        "0-4,6-11  stuck  wait in barrier for 7.0 s",
    ]
    assert [row[0] for row in Page(to_html(found)).rows] == ["ranks", "5", "0-4,6-11"]


# -- what the account of calls knows ---------------------------------------------------------


def ends(send_tag, recv_tag, number=1):
    """A rank that sends to the other, which receives from it."""
    return {
        0: waits(p2p("send", 1, tag=send_tag, seq=number), "line 2: dist.send(x, 1)"),
        1: waits(p2p("recv", 0, tag=recv_tag, seq=number), "line 4: dist.recv(x, 0)"),
    }


def test_a_send_and_a_recv_with_other_tags_are_a_mismatch():
    verdict = diagnose(ends(1, 2))
    assert (verdict.kind, verdict.ranks, verdict.proven) == ("mismatch", (0, 1), True)
    assert verdict.summary == (
        "Rank 0 sends to 1 with tag 1 (line 2: dist.send(x, 1)), "
        "where rank 1 receives from 0 with tag 2 (line 4: dist.recv(x, 0))."
    )


def test_a_send_and_a_recv_with_the_same_tag_are_on_their_way():
    assert not diagnose(ends(3, 3)).stuck


def test_a_recv_whose_send_has_been_issued_is_on_its_way_whatever_the_sender_does_now():
    """It has called isend, and waits for others now."""
    sent = p2p("send", 1, tag=0, seq=4)
    looks = {
        0: waits(REDUCE, recent=(sent,)),
        1: waits(p2p("recv", 0, tag=0, seq=4), "line 4: dist.recv(x, 0)"),
    }
    assert not diagnose(looks).stuck


def test_a_recv_of_a_later_number_than_was_sent_waits_for_its_sender():
    sent = p2p("send", 1, tag=0, seq=4)
    looks = {
        0: waits(REDUCE, recent=(done(sent),)),
        1: waits(p2p("recv", 0, tag=0, seq=5), "line 4: dist.recv(x, 0)"),
    }
    verdict = diagnose(looks)
    assert verdict.stuck == (0, 1)
    assert (verdict.kind, verdict.ranks) == ("mismatch", (0, 1))


@pytest.mark.parametrize(("quiet", "proven"), [(2.0, True), (0.5, False)])
def test_a_collective_in_a_thread_is_proven_stuck_when_no_thread_computes(quiet, proven):
    look = replace(waits(quiet=quiet, line="line 4: thread.join()"), in_thread=True)
    verdict = diagnose({0: look, 1: IDLE})
    assert (verdict.kind, verdict.ranks, verdict.proven) == ("missing_rank", (1,), proven)


def test_what_runs_in_a_file_is_said_with_its_line():
    line = "train.py:6 in step, called from line 3: step()"
    verdict = diagnose({0: waits(), 1: runs(line)})
    assert verdict.per_rank[1] == f"runs {line}"
    assert f"Rank 1 still runs ({line})" in verdict.summary


# -- an exception that has not ended the cell ------------------------------------------------

BARRIER = replace(waits(call("barrier", 5), "In [4] line 6: dist.barrier()"), recent=())
FIRST = {"handles": "ValueError: no data", "raised_at": "In [4] line 3: f()"}


def test_a_rank_that_raised_and_waits_is_the_cause():
    found = diagnose({0: waits(), 1: replace(BARRIER, **FIRST), 2: waits()})
    assert (found.kind, found.ranks, found.stuck) == ("raised", (1,), (0, 1, 2))
    assert found.summary == (
        "Rank 1 raised ValueError: no data (In [4] line 3: f()) and then waits in barrier #5 "
        "(In [4] line 6: dist.barrier()); ranks 0,2 wait in all_reduce #5 "
        "(line 3: dist.all_reduce(x))."
    )
    assert found.per_rank[1].startswith(
        "raised ValueError: no data (In [4] line 3: f()), then waits in barrier #5"
    )


def test_a_rank_that_raised_and_waits_for_ranks_that_have_ended_is_the_cause():
    ended = replace(IDLE, line="its cell has ended")
    found = diagnose({0: ended, 1: replace(BARRIER, **FIRST), 2: ended})
    assert (found.kind, found.ranks) == ("raised", (1,))
    assert found.summary.endswith("which ranks 0,2 never called: their cells have ended.")


def test_what_all_ranks_handle_does_not_set_them_apart():
    looks = {rank: replace(waits(), **FIRST) for rank in range(2)}
    looks[0] = replace(looks[0], waiting=call("barrier", 5), recent=())
    assert diagnose(looks).kind == "mismatch"


# -- after ranks were freed ------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_on_freed_ranks_differs_in_its_words_only(name):
    looks = dict(enumerate(CASES[name].looks))
    now, then = diagnose(looks), diagnose(looks, past=True)
    assert replace(then, summary=now.summary, per_rank=now.per_rank) == now
    for text in then.per_rank.values():
        assert not re.match(r"waits |runs |is |does ", text)
    if then.kind in {"missing_rank", "mismatch"} and "killed" not in then.summary:
        words = re.sub(r"\S*wait\(\)", "", then.summary)
        assert not re.search(r"\b(waits?|calls?|sends|receives|its cell has)\b", words)


def test_a_slow_rank_is_said_to_have_been_computing():
    found = diagnose({0: waits(), 1: runs("In [4] line 2: f()"), 2: waits()}, past=True)
    assert found.summary == (
        "Rank 1 was still computing in In [4] line 2, ranks 0,2 waited for it in all_reduce #5."
    )


# -- what it often is ------------------------------------------------------------------------

HERE = replace(REDUCE, line="In [4] line 3")
MEETS = call("barrier", line="x.py:9")
ENDED_CELL = "its cell has ended"


def ended_after(*calls):
    return replace(idle(*calls), line=ENDED_CELL)


@pytest.mark.parametrize(
    ("looks", "hint"),
    [
        ([waits(HERE), ended_after(done(replace(HERE, seq=4)))], "uneven shards: rank 1 had fewer"),
        ([waits(HERE), ended_after(done(replace(HERE, seq=4, sizes=((9,),))))], "uneven shards"),
        (
            [
                waits(HERE, recent=(done(replace(HERE, seq=4, sizes=((9,),))),)),
                ended_after(done(replace(HERE, seq=4, sizes=((9,),)))),
            ],
            "it may be a layer that was not used there",
        ),
        ([waits(MEETS), ended_after(done(replace(MEETS, seq=4)))], "a branch that only some"),
        ([waits(HERE), ended_after()], "a branch that only some ranks take"),
        ([waits(HERE), ended_after(done(replace(HERE, seq=4, line="x.py:1")))], "a branch"),
        ([waits(HERE), IDLE], "The cell was not given to rank 1"),
        ([waits(NEW_GROUP), ended_after()], "Every rank of the world must call new_group"),
        ([receives(1), ended_after()], "Every send needs a recv"),
        ([receives(1), receives(0)], "let odd ranks send first"),
        ([waits(), waits(call("barrier"))], "different branches"),
        ([waits(), waits(call(sizes=((5,),)))], "--check says so before the call"),
        (
            [waits(call("broadcast", peer=0)), waits(call("broadcast", peer=1))],
            "must be the same on every rank",
        ),
        ([waits(), runs()], "work that only some ranks do"),
        ([waits(replace(HERE, in_destructor=True)), ended_after()], "no collective there"),
        ([waits(call("barrier", in_destructor=True)), waits()], "no collective there"),
    ],
)
def test_a_verdict_says_what_it_often_is(looks, hint):
    assert hint in judged(looks).hint


def test_a_slow_rank_that_handles_an_exception_shows_it():
    """It tries again and again, for example, while the others wait."""
    retries = replace(runs(), handles="OSError: 404", raised_at="line 2: load()")
    assert judged([retries, waits()]).summary == (
        "Rank 0 raised OSError: 404 (line 2: load()) and still runs (line 4: time.sleep(20)); "
        "rank 1 has waited for it in all_reduce #5 for 12 s."
    )


EXCHANGE = call("all_to_all_single", 2, line=LINE)
HAD_ITS_PART = replace(EXCHANGE, done=True)


def test_a_rank_that_waits_for_more_than_the_others_have_sent_is_freed():
    """Its split sizes are not those of the others, whose part of the exchange has ended."""
    behind = call("barrier", 3, sizes=(), dtypes=())
    looks = [waits(EXCHANGE, still=3.0), waits(behind, "line 9: dist.barrier()", (HAD_ITS_PART,))]
    looks[0] = replace(looks[0], quiet=3.0, silent=3.0)
    found = judged(looks)
    assert (found.kind, found.ranks, found.stuck) == ("mismatch", (0, 1), (0, 1))
    assert found.proven
    assert found.summary == (
        f"Rank 0 waits in all_to_all_single #2 ({LINE}) for more data than was sent: "
        "it has ended on rank 1."
    )
    assert "input_split_sizes" in found.hint


def test_several_ranks_can_wait_for_more_than_was_sent():
    its = replace(waits(EXCHANGE), still=3.0, quiet=3.0, silent=3.0)
    found = judged([its, idle(HAD_ITS_PART), its])
    assert found.summary.startswith("Ranks 0,2 wait in all_to_all_single #2")
    assert found.summary.endswith("it has ended on rank 1.")
    assert judged([its, idle(HAD_ITS_PART), replace(its, silent=0.1)]).kind == "running"
    assert judged([its, its, its]).kind == "running"


@pytest.mark.parametrize("part", ["still", "quiet", "silent"])
def test_a_rank_to_which_data_may_be_on_its_way_is_not_left_out(part):
    rests = {"still": 3.0, "quiet": 3.0, "silent": 3.0, part: 0.5}
    found = judged([replace(waits(EXCHANGE), **rests), idle(HAD_ITS_PART)])
    assert (found.kind, found.stuck) == ("running", ())


def test_a_silence_in_a_collective_of_equal_sizes_may_be_the_networks():
    ended, its = (replace(call, op="broadcast") for call in (HAD_ITS_PART, EXCHANGE))
    waiting = replace(waits(its), still=9.0, quiet=9.0, silent=9.0)
    assert judged([idle(ended), waiting, waiting]).kind == "running"


def test_a_wait_that_may_end_by_itself_proves_nothing():
    its = replace(waits(HERE), may_end=True)
    found = judged([its, ended_after()])
    assert (found.kind, found.stuck, found.proven) == ("missing_rank", (0,), False)


def test_a_wait_with_a_timeout_of_its_own_says_when_it_ends():
    its = replace(waits(HERE), may_end=True, gives_up=7.6)
    found = judged([its, ended_after()])
    assert "8 s before its timeout (line 3" in found.per_rank[0]
    assert "rank 0 gives up in 8 s; %dist_interrupt frees" in found.hint
    past = diagnose({0: its, 1: ended_after()}, past=True)
    assert "it would have ended after 8 s more" in past.hint


def test_a_verdict_that_is_only_likely_says_so():
    looks = [waits(HERE, still=0.0), ended_after()]
    assert "likely, not proven" in judged(looks).hint
    assert "likely" not in judged([waits(HERE), ended_after()]).hint
