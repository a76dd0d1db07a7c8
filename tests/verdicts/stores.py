"""Stores, keys that nobody sets, and groups that were destroyed."""

from __future__ import annotations

from dataclasses import replace

from looks import IDLE, NEEDS_KEY, OVER, REDUCE, call, done, making, pair, runs, waits

from rankbook.models import Collective
from verdicts.case import Case


def opens(where):
    its = Collective("TCPStore", since=1.0, entries=(where,))
    return replace(waits(its, "line 2: open()"), may_end=True)


def destroyed(name, *ranks):
    return replace(making(name, *ranks, done=True), destroyed="line 2: end()")


def ends(line):
    """The script of a rank that has destroyed the group in its last line, or so it seems."""
    return replace(runs(line), still=0.1, is_script=True, groups=(destroyed("0", 0, 1),))


CASES = {
    "keys that ranks wait for in a circle": Case(
        [
            waits(NEEDS_KEY, "line 2: a()"),
            waits(replace(NEEDS_KEY, entries=("go",)), "line 4: b()"),
        ],
        "mismatch",
        (0, 1),
        (0, 1),
        proven=True,
        summary="Rank 0 waits for ready (line 2: a()), rank 1 waits for go (line 4: b()): no rank "
        "sets that.",
    ),
    "a key that all ranks wait for": Case(
        [waits(NEEDS_KEY, "line 2: a()"), waits(NEEDS_KEY, "line 2: a()")],
        "mismatch",
        (0, 1),
        (0, 1),
        proven=True,
        summary="Ranks 0-1 wait for ready (line 2: a()): no rank sets that.",
    ),
    "a server that waits for its clients": Case(
        [opens("host:1"), OVER, OVER],
        "missing_rank",
        (1, 2),
        (0,),
        summary="Ranks 1-2 never opened TCPStore(host:1), for which rank 0 waits (line 2: open()): "
        "their cells have ended.",
    ),
    "a server that waits for a client that computes": Case(
        [opens("host:1"), runs()],
        "slow",
        (1,),
        summary="Rank 1 still runs (line 4: time.sleep(20)); rank 0 has waited for it in "
        "TCPStore(host:1) for 1.0 s.",
    ),
    "stores at two addresses": Case(
        [opens("host:1"), opens("host:2"), opens("host:2")],
        "missing_rank",
        (0,),
        (0, 1, 2),
        summary="Ranks 0-2 do not meet in TCPStore: rank 0 waits at host:1 (line 2: open()), "
        "ranks 1-2 wait at host:2 (line 2: open()).",
    ),
    "a rank has destroyed the group": Case(
        [
            replace(OVER, groups=(destroyed("0", 0, 1, 2),)),
            waits(call("barrier"), "line 5: dist.barrier()"),
            waits(call("barrier"), "line 5: dist.barrier()"),
        ],
        "missing_rank",
        (0,),
        (1, 2),
        proven=True,
        summary="Rank 0 has destroyed the process group (line 2: end()), and ranks 1-2 wait for it "
        "in barrier #5 (line 5: dist.barrier()).",
    ),
    "a script has destroyed its group where it ends": Case(
        [
            replace(OVER, is_script=True, groups=(destroyed("0", 0, 1),)),
            waits(call("barrier"), "train.py:5: dist.barrier()"),
        ],
        "missing_rank",
        (0,),
        (1,),
        proven=True,
        summary="Rank 0 never called barrier #5, in which rank 1 waits "
        "(train.py:5: dist.barrier()): its script has ended.",
    ),
    "a script that has just destroyed its group": Case(
        [ends("line 2: end()"), waits(call("barrier"), "train.py:5: dist.barrier()")],
        "slow",
        (0,),
        summary="Rank 0 still runs (line 2: end()); rank 1 has waited for it in barrier #5 for "
        "12 s.",
    ),
    "a script has destroyed its group, and is being tidied up after": Case(
        [ends(""), waits(call("barrier"), "train.py:5: dist.barrier()")],
        "slow",
        (0,),
    ),
    "a script has destroyed its group, and goes on": Case(
        [ends("line 3: save()"), waits(call("barrier"), "train.py:5: dist.barrier()")],
        "missing_rank",
        (0,),
        (1,),
        proven=True,
        summary="Rank 0 has destroyed the process group (line 2: end()), and rank 1 waits for it "
        "in barrier #5 (train.py:5: dist.barrier()).",
    ),
    "a rank has destroyed a subgroup, and computes": Case(
        [
            replace(runs(), groups=(destroyed("01", 0, 1),)),
            waits(pair(0, 1), "line 5: f()"),
            IDLE,
        ],
        "missing_rank",
        (0,),
        (1,),
        proven=True,
        summary="Rank 0 has destroyed the group of ranks 0-1 (line 2: end()), and rank 1 waits for "
        "it in all_reduce #2 of ranks 0-1 (line 5: f()).",
    ),
    "a rank that has destroyed the group had come before": Case(
        [replace(OVER, groups=(destroyed("0", 0, 1),), recent=(done(REDUCE),)), waits()],
        "running",
    ),
    "a rank has destroyed an earlier group of that name": Case(
        [
            replace(runs(), groups=(destroyed("0", 0, 1), making("0", 0, 1, epoch=2, done=True))),
            replace(waits(), groups=(making("0", 0, 1, epoch=2, done=True),)),
        ],
        "slow",
        (0,),
    ),
}
