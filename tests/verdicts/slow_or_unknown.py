"""It only takes long, or it is not known."""

from __future__ import annotations

from looks import HANDLE, IDLE, NEW_GROUP, OPEN, PROVEN, SILENT, call, receives, runs, waits

from rankbook.models import Collective, Look
from verdicts.case import Case

CASES = {
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
