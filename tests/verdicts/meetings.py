"""Ranks that have no group yet, and do not meet: other places, sizes or numbers."""

from __future__ import annotations

from dataclasses import replace

from looks import IDLE, OPEN, OVER, PROVEN, runs, waits

from rankbook.models import Collective
from rankbook.models.calls import SCRIPTS, Making
from rankbook.models.meetings import Meets
from verdicts.case import Case


def joins(at, rank, size, line="line 2: init()", **facts):
    """A rank that waits in ``init_process_group``, where it is the ``rank``-th of ``size``."""
    call = Collective(
        "init_process_group", ranks=tuple(range(size)), since=1.0, meets=Meets(at, rank, size)
    )
    return replace(waits(call, line), **facts)


def below(prefix, look):
    """The same below a prefix of the store."""
    call = look.waiting
    meets = replace(call.meets, prefix=prefix)
    groups = tuple(replace(making, meets=meets) for making in look.groups)
    return replace(look, waiting=replace(call, meets=meets), groups=groups)


def of_backends(backends, look, line):
    """The same with other backends, by device."""
    return replace(
        look, groups=tuple(replace(g, backends=backends, line=line) for g in look.groups)
    )


def ours(look):
    """The same where only ranks of the session can come."""
    meets = replace(look.waiting.meets, only_ranks=True)
    return replace(look, waiting=replace(look.waiting, meets=meets))


def makes(at, rank, size):
    """A rank that already makes the group in a store."""
    meets, members = Meets(at, rank, size), tuple(range(size))
    call = Collective("init_process_group", "0", members, since=1.0, makes=True, meets=meets)
    groups = (Making("0", members, line="line 3: init()", epoch=1, meets=meets),)
    return replace(waits(call, "line 3: init()"), groups=groups)


def made(at, rank, size):
    """A rank that has made its group, and has ended."""
    meets, members = Meets(at, rank, size), tuple(range(size))
    groups = (Making("0", members, epoch=1, line="line 4: init()", done=True, meets=meets),)
    return replace(OVER, groups=groups)


def in_script(look, members):
    """The same in a script that some ranks run."""
    call = replace(look.waiting, group=SCRIPTS, ranks=members)
    return replace(look, waiting=call)


def opens(at, rank, size):
    call = Collective("TCPStore", entries=(at,), since=1.0, meets=Meets(at, rank, size))
    return waits(call, "line 2: open()")


CASES = {
    "a script on two of four ranks, one of which does not come": Case(
        [IDLE, OVER, IDLE, ours(in_script(joins("host:1", 1, 2), (1, 3)))],
        "missing_rank",
        (1,),
        (3,),
        PROVEN,
    ),
    "a script on two of four ranks, and two ports": Case(
        [
            IDLE,
            in_script(joins("host:1", 0, 2), (1, 3)),
            IDLE,
            in_script(joins("host:2", 1, 2, "line 3: init()"), (1, 3)),
        ],
        "missing_rank",
        (1, 3),
        (1, 3),
        PROVEN,
        "Ranks 1,3 do not meet in init_process_group: rank 1 waits at host:1 (line 2: init()), "
        "rank 3 waits at host:2 (line 3: init()).",
    ),
    "two ports": Case(
        [joins("localhost:1", 0, 2), joins("localhost:2", 1, 2, "line 3: init()")],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in init_process_group: rank 0 waits at localhost:1 "
        "(line 2: init()), rank 1 waits at localhost:2 (line 3: init()).",
    ),
    "a port that one rank has": Case(
        [joins("host:1", 0, 3), joins("host:2", 1, 3), joins("host:1", 2, 3)],
        "missing_rank",
        (1,),
        (0, 1, 2),
        PROVEN,
        "Ranks 0-2 do not meet in init_process_group: ranks 0,2 wait at host:1 "
        "(line 2: init()), rank 1 waits at host:2 (line 2: init()).",
    ),
    "two ports, and processes that may come there": Case(
        [joins("host:1", 0, 2, has_children=True), joins("host:2", 1, 2)],
        "missing_rank",
        (0, 1),
        (0, 1),
        OPEN,
    ),
    "two ports, and a rank that may come to one": Case(
        [joins("host:1", 0, 3), joins("host:2", 1, 3), runs()], "slow", (2,)
    ),
    "two worlds of two, complete": Case(
        [
            joins("host:1", 0, 2),
            joins("host:1", 1, 2),
            joins("host:2", 0, 2),
            joins("host:2", 1, 2),
        ],
        "running",
    ),
    "names of one address": Case(
        [joins("localhost:1", 0, 2), joins("127.0.0.1:1", 1, 2)], "running"
    ),
    "a port of each rank's own, for programs of another size": Case(
        [joins("host:1", 0, 5), joins("host:2", 0, 5), joins("host:3", 0, 5)],
        "missing_rank",
        (0, 1, 2),
        (0, 1, 2),
        OPEN,
    ),
    "two sizes": Case(
        [joins("host:1", 0, 2), joins("host:1", 1, 3)],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in init_process_group: rank 0 waits at host:1 with world_size 2 "
        "(line 2: init()), rank 1 waits at host:1 with world_size 3 (line 2: init()).",
    ),
    "one rank twice": Case(
        [joins("host:1", 1, 2), joins("host:1", 1, 2)],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in init_process_group: "
        "ranks 0-1 wait at host:1 as rank 1 (line 2: init()).",
    ),
    "two stores": Case(
        [makes("/a", 0, 2), makes("/b", 1, 2)],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in init_process_group: rank 0 waits at /a (line 3: init()), "
        "rank 1 waits at /b (line 3: init()).",
    ),
    "two prefixes": Case(
        [below("a", makes("host:1", 0, 2)), below("b", makes("host:1", 1, 2))],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in init_process_group: rank 0 waits at host:1 below the prefix a "
        "(line 3: init()), rank 1 waits at host:1 below the prefix b (line 3: init()).",
    ),
    "a prefix that one rank has": Case(
        [
            below("", makes("host:1", 0, 3)),
            below("b", makes("host:1", 1, 3)),
            below("", makes("host:1", 2, 3)),
        ],
        "missing_rank",
        (1,),
        (0, 1, 2),
        PROVEN,
        "Ranks 0-2 do not meet in init_process_group: ranks 0,2 wait at host:1 without a prefix "
        "(line 3: init()), rank 1 waits at host:1 below the prefix b (line 3: init()).",
    ),
    "a prefix, and one that is not known yet": Case(
        [below("a", makes("host:1", 0, 2)), joins("host:1", 1, 2)], "running"
    ),
    "two backends": Case(
        [
            of_backends("cpu:gloo,cuda:gloo", makes("host:1", 0, 2), "line 2: init()"),
            of_backends("cuda:nccl", makes("host:1", 1, 2), "line 3: init()"),
        ],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Rank 0 makes the process group with backend gloo (line 2: init()), where rank 1 makes it "
        "with backend nccl (line 3: init()).",
    ),
    "a backend that one rank has": Case(
        [
            of_backends("cpu:gloo", makes("host:1", 0, 3), "line 2: init()"),
            of_backends("cpu:mpi", makes("host:1", 1, 3), "line 2: init()"),
            of_backends("cpu:gloo", makes("host:1", 2, 3), "line 2: init()"),
        ],
        "mismatch",
        (1,),
        (0, 1, 2),
        PROVEN,
    ),
    "backends that are the same on one device": Case(
        [
            of_backends("cpu:gloo,cuda:nccl", makes("host:1", 0, 2), "line 2: init()"),
            of_backends("cpu:gloo,cuda:gloo", makes("host:1", 1, 2), "line 2: init()"),
        ],
        "running",
    ),
    "one store, and a rank that is about to make the group": Case(
        [makes("/a", 0, 2), joins("/a", 1, 2)], "running"
    ),
    "a rank has made a group of its own": Case(
        [made("host:1", 0, 1), ours(joins("host:1", 1, 2))],
        "missing_rank",
        (0, 1),
        (1,),
        PROVEN,
        "Ranks 0-1 do not meet in init_process_group: rank 0 made a group at host:1 with "
        "world_size 1 (line 4: init()), rank 1 waits at host:1 with world_size 2 (line 2: init()).",
    ),
    "a rank that has not come": Case(
        [ours(joins("host:1", 0, 3)), ours(joins("host:2", 1, 3)), IDLE],
        "missing_rank",
        (2,),
        (0, 1),
        PROVEN,
    ),
    "a store at two ports": Case(
        [opens("host:1", 0, 2), opens("host:2", None, 2)],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in TCPStore: rank 0 waits at host:1 (line 2: open()), "
        "rank 1 waits at host:2 (line 2: open()).",
    ),
    "a store that no rank serves": Case(
        [opens("host:1", None, 2), opens("host:1", None, 2)],
        "missing_rank",
        (0, 1),
        (0, 1),
        OPEN,
        "Ranks 0-1 wait for a store that no rank serves: "
        "ranks 0-1 wait at host:1 (line 2: open()).",
    ),
    "two ranks that serve the store": Case(
        [opens("host:1", 0, 2), opens("host:2", 0, 2)],
        "missing_rank",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 do not meet in TCPStore: rank 0 waits at host:1 (line 2: open()), "
        "rank 1 waits at host:2 (line 2: open()).",
    ),
    "stores that serve programs": Case(
        [opens("host:1", 0, 3), opens("host:2", 0, 3)], "missing_rank", (0, 1), (0, 1), OPEN
    ),
    "stores that serve processes of the ranks": Case(
        [
            replace(opens("host:1", 0, 2), has_children=True),
            replace(opens("host:2", 0, 2), has_children=True),
        ],
        "missing_rank",
        (0, 1),
        (0, 1),
        OPEN,
    ),
}
