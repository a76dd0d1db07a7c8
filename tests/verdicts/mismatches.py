"""Calls that do not match."""

from __future__ import annotations

from dataclasses import replace

from looks import (
    IDLE,
    OPEN,
    PROVEN,
    UNRECORDED,
    call,
    done,
    idle,
    pair,
    receives,
    runs,
    sends,
    waits,
)

from verdicts.case import Case

CASES = {
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
    "different sizes at one line, the text of which one rank has no longer": Case(
        [
            waits(call(seq=6), recent=(done(call(sizes=((2,),), line="line 3")),)),
            waits(line="line 3: dist.all_reduce(x)"),
        ],
        "mismatch",
        (0, 1),
        (0, 1),
        PROVEN,
        "Ranks 0-1 call all_reduce #5 differently: rank 0 with 2 elements of float32, "
        "rank 1 with 4 elements of float32 (line 3: dist.all_reduce(x)).",
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
}
