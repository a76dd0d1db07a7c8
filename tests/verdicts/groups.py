"""Groups made differently, and keys of a store."""

from __future__ import annotations

from dataclasses import replace

from looks import IDLE, NEEDS_KEY, OVER, PROVEN, call, makes, making, pair, runs, waits

from rankbook.models.meetings import MeshMaking
from verdicts.case import Case


def mesh(shape, names=(), nth=1):
    return MeshMaking(shape, names, nth, 1, "line 3: g()")


def of_mesh(first, second, its):
    """A rank that waits in a group which the mesh has made of two ranks."""
    group = making(f"{first}{second}", first, second, line="line 3: g()", done=True)
    return replace(waits(pair(first, second)), groups=(group,), meshes=(its,))


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
    # -- meshes made differently ---------------------------------------------------------------
    "meshes of two shapes": Case(
        [
            replace(waits(call("barrier", 1), "line 4: b()"), meshes=(mesh((4,)),)),
            replace(makes("1", 0, 2), meshes=(mesh((2, 2)),)),
            replace(makes("1", 0, 2), meshes=(mesh((2, 2)),)),
        ],
        "mismatch",
        (0,),
        (0, 1, 2),
        PROVEN,
        "Rank 0 makes a mesh of shape (4,) (line 3: g()), where ranks 1-2 make a mesh of "
        "shape (2, 2) (line 3: g()).",
    ),
    "dimensions in another order": Case(
        [
            of_mesh(0, 1, mesh((2, 1), ("dp", "tp"))),
            of_mesh(0, 2, mesh((2, 1), ("tp", "dp"))),
            of_mesh(1, 2, mesh((2, 1), ("dp", "tp"))),
        ],
        "mismatch",
        (1,),
        (0, 1, 2),
        PROVEN,
        "Ranks 0,2 make a mesh of shape (dp=2, tp=1) (line 3: g()), where rank 1 makes a mesh of "
        "shape (tp=2, dp=1) (line 3: g()).",
    ),
    "meshes of other names that have nothing to do with it": Case(
        [
            replace(waits(call("barrier", 1)), meshes=(mesh((2, 1), ("dp", "tp")),)),
            replace(OVER, meshes=(mesh((2, 1), ("dp", "mp")),)),
        ],
        "missing_rank",
        (1,),
        (0,),
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
}
