"""A rank is missing: it ended its cell, or raised, before a call of the others."""

from __future__ import annotations

from dataclasses import replace

from looks import (
    HANDLE,
    IDLE,
    NEW_GROUP,
    OPEN,
    PROVEN,
    RAISED,
    REDUCE,
    SILENT,
    call,
    idle,
    pair,
    receives,
    runs,
    sends,
    sent_to_0,
    waits,
)

from verdicts.case import Case

CASES = {
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
    "seen shortly in a wait that is long": Case(
        [replace(waits(still=0.03), in_wait=0.4), IDLE], "missing_rank", (1,), (0,), PROVEN
    ),
    "seen shortly in a wait that is short": Case(
        [replace(waits(still=0.03), in_wait=0.39), IDLE], "missing_rank", (1,), (0,), OPEN
    ),
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
}
