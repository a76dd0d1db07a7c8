"""Ranks and sessions as views are given them."""

from __future__ import annotations

from dataclasses import replace

from rankbook.display.dashboard.panel import Answer, Message, Panel
from rankbook.models import (
    CellSpan,
    Collective,
    Diagnosis,
    EngineFacts,
    Gpu,
    GroupInfo,
    Look,
    Snapshot,
)
from rankbook.models.environment import Environment
from rankbook.models.frames import Frame, Standing
from rankbook.models.report import Report

__all__ = [
    "DEAD",
    "EVIL",
    "EVIL_MEMBERS",
    "GPU",
    "GPUS",
    "HANG",
    "HEALTHY",
    "HUNG",
    "LARGE",
    "PANELS",
    "REPORT",
    "many",
    "member",
    "shown",
    "snapshot",
    "with_gpu",
]

EVIL = "<b onmouseover='x'>\"&"
"""What must never become markup."""

EVIL_MEMBERS = [
    {"host": EVIL},
    {"state": "running", "line": EVIL},
    {"state": "waiting", "line": EVIL},
    {"state": "gone", "ended": EVIL},
    {"last_error": EVIL},
    {"state": EVIL},
]
"""The places of a rank's facts in which it can stand."""

GPU = Gpu("NVIDIA H100 80GB HBM3", used=42_000_000_000, total=85_000_000_000, utilization=97)

HANG = Diagnosis(
    "missing_rank",
    (1,),
    "Rank 1 is at line 3: other(x) while rank 0 waits for it in all_reduce #7.",
    {0: "waits in all_reduce #7 (line 2: dist.all_reduce(x))", 1: "runs line 3: other(x)"},
    stuck=(0,),
    proven=True,
)


def member(rank, state="idle", world_size=2, call="", **facts):
    """A rank of a gloo group, which may wait in a call."""
    info = GroupInfo("gloo", rank, world_size, "cpu", rank == 0, local_rank=rank, generation=1)
    facts = {"engine": rank, "host": "a", "pid": 100 + rank, "memory": 250_000_000} | facts
    waiting = Collective(call or "wait") if state == "waiting" else None
    return Look(state, waiting=waiting, info=info, **facts)


def with_gpu(state, gpu=GPU):
    """The same on a GPU of its own."""
    device = f"cuda:{state.info.local_rank}"
    return replace(state, info=replace(state.info, backend="nccl", device=device), gpu=gpu)


def many(count):
    """A group of so many ranks, the last but one of which has failed."""
    ranks = [member(rank, world_size=count, memory_total=16_000_000_000) for rank in range(count)]
    ranks[-2] = replace(ranks[-2], last_error="ValueError: no\nsecond line")
    return ranks


def snapshot(*states, doing="", generation=1, **facts):
    """A session with these ranks."""
    backend, size = "", 0
    for state in states:
        if state.info is not None:
            backend, size = state.info.backend, size + 1
    return Snapshot(backend, size, generation, doing, states, **facts)


def shown(*states, **facts):
    """The dashboard of a session with these ranks."""
    return Panel(snapshot(*states, **facts))


HEALTHY = snapshot(
    member(0, memory_total=16_000_000_000),
    member(1, memory_total=16_000_000_000),
    cluster="1700000000-abcd",
)
HUNG = snapshot(
    member(0, "waiting", call="all_reduce", line="line 2: dist.all_reduce(x)", since=12.4, cell=5),
    member(1, "running", line="line 3: other(x)", since=0.4, cell=5),
    doing="running a cell on ranks 0-1",
    verdict=HANG,
    hangs=True,
)
DEAD = snapshot(
    member(0),
    replace(member(1), state="gone", memory=0, ended="was killed by SIGKILL"),
)
GPUS = snapshot(
    with_gpu(member(0, memory_total=2_000_000_000_000)),
    with_gpu(member(1, last_error="OutOfMemoryError: CUDA out of memory.\nmore")),
    Look("no answer", engine=2),
)

_REDUCE = Collective("all_reduce", "0", (0, 1), 7, ((2, 3),), ("float32",), since=3.5)
REPORT = Report(
    made=1.7e9,
    host="a",
    snapshot=replace(HUNG, states=(replace(HUNG.states[0], gpu=Gpu("H100", 1, 2)), HUNG.states[1])),
    verdict=HANG,
    cell=CellSpan(
        5,
        "x = 1",
        1.7e9 - 20,
        code="x = 1\ndist.all_reduce(x)",
        ranks=(0, 1),
        name="In [5]",
        first_line=2,
    ),
    looks={
        0: Look("waiting", "line 2: dist.all_reduce(x)", 5, _REDUCE, (_REDUCE,), 3.5, 3.5, 3.0),
        1: Look("gone", ended="was killed by SIGKILL", last_words=("Killed",)),
    },
    stacks={0: ('  File "a.py", line 1, in f\n    x\n', "  é\n"), 1: ()},
    standings={
        0: Standing((Frame("In [5] line 3", "dist.all_reduce(x)", {"x": "float32 [2, 3]"}),)),
        1: Standing(),
    },
    versions={"python": "3.12.1", "rankbook": "0.1"},
    environment={"NCCL_DEBUG": "INFO"},
    environments={
        0: Environment(EngineFacts(0, "a", (), 100, ("H100",)), {"torch": "2.9.0"}, 4, 2),
        1: Environment(EngineFacts(1, "a", (), 101, ("H100",)), {"torch": "2.8.0"}, 4, 2),
    },
    masked=2,
)

PANELS = {
    "no_group": Panel(snapshot(generation=0)),
    "making_the_first_group": Panel(
        snapshot(Look("idle", engine=0), doing="initialising the process group")
    ),
    "healthy": Panel(HEALTHY),
    "hung": Panel(HUNG),
    "after_a_hang": Panel(replace(HEALTHY, verdict=HANG)),
    "busy": Panel(replace(HEALTHY, doing="resetting"), message=Message("Reset", "busy")),
    "error": Panel(HEALTHY, message=Message("Reset: not now. Try again.", "error")),
    "answer": Panel(
        HEALTHY,
        timeout_minutes=2.5,
        message=Message("Why? Every rank is idle. (0.01 s)"),
        answer=Answer("Why?", "<p>Every rank is idle.</p>"),
    ),
    "closed": Panel(
        replace(
            HEALTHY,
            doing="shut down",
            states=tuple(replace(state, state="left") for state in HEALTHY.states),
        ),
        message=Message("Shut down: run %dist_init for new ranks. (0.10 s)"),
        answer=Answer("Stacks", "<pre>x</pre>"),
        closed=True,
    ),
    "dead_rank": Panel(DEAD),
    "gpus": Panel(GPUS),
    "spare_engine": Panel(snapshot(*HEALTHY.states, Look("idle", engine=2, host="a", pid=102))),
    "own_backend": Panel(replace(HEALTHY, backend="cpu:gloo,cuda:nccl")),
}
"""By the name of its file, everything that a dashboard may show."""

LARGE = {"tiles": Panel(snapshot(*many(17))), "dense": Panel(snapshot(*many(129)))}
