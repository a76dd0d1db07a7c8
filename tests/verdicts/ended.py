"""A rank has ended."""

from __future__ import annotations

from dataclasses import replace

from looks import (
    ABORTED,
    IDLE,
    KILLED,
    LOST,
    MAKES,
    OF_FIVE,
    OF_FOUR,
    PROVEN,
    RAISED,
    REDUCE,
    SENT,
    TAKEN,
    call,
    idle,
    pair,
    runs,
    waits,
)

from rankbook.models import Look
from verdicts.case import Case

CASES = {
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
    "gloo has ended a process that was sent more than it gathers": Case(
        [
            waits(call("all_gather", sizes=((9,),))),
            replace(ABORTED, waiting=call("all_gather"), recent=(call("all_gather"),)),
            waits(call("all_gather")),
        ],
        "mismatch",
        (0,),
        (0, 2),
        proven=True,
    ),
}
