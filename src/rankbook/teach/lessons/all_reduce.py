"""Lesson 04: all-reduce by hand; naive, as a tree, as a ring.

Rank r gives ``10**r``, so that the digits of a sum tell whose numbers are in it, and how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Target
from rankbook.teach.forms import Choice, Number, Numbers, Ranks, Whole
from rankbook.teach.watching import by_hand

if TYPE_CHECKING:
    from rankbook.teach.judging import Here

__all__ = ["LESSON"]

_NUMBERS = 8
_BYTES = 4 * _NUMBERS


def _mine(here: Here) -> Any:
    return here.torch.full((_NUMBERS,), 10.0**here.rank)


def _all(here: Here, value: float) -> Any:
    return here.torch.full((_NUMBERS,), float(value))


def _sum(here: Here) -> Any:
    return _all(here, sum(10**rank for rank in range(here.world_size)))


# -- by hand ---------------------------------------------------------------------------------

_BY_HAND = Target("by-hand", "collectives", "collectives", most=0, tells=False)


def _not_by_hand(example: str) -> Mistake:
    return Mistake(
        "not-by-hand",
        "The result is right, but a collective of torch's has made it, and this lesson takes those "
        "apart. Use sends and receives alone.",
        example,
        seen=lambda seen: "by-hand" in seen.missed,
    )


# -- the tree --------------------------------------------------------------------------------


def _of_rank(*values: int) -> Any:
    """A mistake whose values on ranks 0 to 3 are known."""
    return lambda here: _all(here, values[here.rank])


_UP = """%%dist
def tree_all_reduce(x):
    distance = 1
    while distance < world_size:
        if rank % (2 * distance) == distance:
            dist.send(x, dst=rank - distance)
        elif rank % (2 * distance) == 0:
            theirs = torch.empty_like(x)
            dist.recv(theirs, src=rank + distance)
            x += theirs
        distance *= 2
"""

_TREE = Exercise(
    name="tree",
    title="All-reduce as a tree",
    needs=("tree_all_reduce",),
    tries=lambda here: by_hand(here, lambda: here.tree_all_reduce(_mine(here))),
    right=_sum,
    targets=(_BY_HAND, Target("steps", "calls", "calls", most=4)),
    hints=(
        "On the way up the distances were 1, 2. The way down has the same distances backwards.",
        "Start with distance = world_size // 2, and halve it after each step.",
        "In a step of the way down, a rank that received on the way up sends: "
        "rank % (2 * distance) == 0 sends to rank + distance, and that one receives.",
    ),
    mistakes=(
        _not_by_hand(f"{_UP}    dist.broadcast(x, src=0)\n    return x\n"),
        Mistake(
            "no-way-down",
            "Rank 0 has the sum, and nobody else knows of it: the way down is missing.",
            f"{_UP}    return x\n",
            says="has only what it had on the way up",
            gives=_of_rank(1111, 10, 1100, 1000),
        ),
        Mistake(
            "same-order",
            "Going down, the largest distance comes first: rank 2 has to have the sum before it "
            "passes it to rank 3.",
            f"""{_UP}    distance = 1
    while distance < world_size:
        if rank % (2 * distance) == 0:
            dist.send(x, dst=rank + distance)
        elif rank % (2 * distance) == distance:
            dist.recv(x, src=rank - distance)
        distance *= 2
    return x
""",
            says="got the half that rank 2 had then, 1100",
            gives=_of_rank(-1, -1, -1, 1100),
        ),
        Mistake(
            "adds-going-down",
            "What comes down is the whole sum already: receive it into x, do not add it to x.",
            f"""{_UP}    while distance > 1:
        distance //= 2
        if rank % (2 * distance) == 0:
            dist.send(x, dst=rank + distance)
        elif rank % (2 * distance) == distance:
            total = torch.empty_like(x)
            dist.recv(total, src=rank - distance)
            x += total
    return x
""",
            says="has added the sum to what it had, so some numbers are in it twice",
            gives=_of_rank(-1, 1121, 2211, 3211),
        ),
    ),
)


# -- the ring --------------------------------------------------------------------------------


def _ring(here: Here, *, adds: bool = False, starts: int = 1, steps: int | None = None) -> Any:
    """What a ring leaves on this rank, worked out without sending anything.

    Args:
        here: The rank.
        adds: Whether the second half adds, instead of copying.
        starts: Which chunk a rank sends first in the second half, counted from its own.
        steps: Of the second half; None: one fewer than ranks.
    """
    n = here.world_size
    held = [[10**rank] * n for rank in range(n)]
    for step in range(n - 1):
        sent = [held[rank][(rank - step) % n] for rank in range(n)]
        for rank in range(n):
            held[rank][(rank - step - 1) % n] += sent[rank - 1]
    for step in range(n - 1 if steps is None else steps):
        sent = [held[rank][(rank + starts - step) % n] for rank in range(n)]
        for rank in range(n):
            chunk = (rank + starts - step - 1) % n
            held[rank][chunk] = sent[rank - 1] + (held[rank][chunk] if adds else 0)
    values = here.torch.tensor(held[here.rank], dtype=here.torch.float32)
    return values.repeat_interleave(_NUMBERS // n)


def _of(second: str, *, first: str = "range(world_size - 1)") -> str:
    """A cell with the first half of the ring as it is, and this second half."""
    return f"""%%dist
def ring_all_reduce(x):
    chunks = list(x.chunk(world_size))
    for step in {first}:
        outgoing = chunks[(rank - step) % world_size]
        chunks[(rank - step - 1) % world_size] += exchange(outgoing)
{second}    return x
"""


_RING = Exercise(
    name="ring",
    title="All-reduce as a ring",
    needs=("ring_all_reduce", "exchange"),
    tries=lambda here: by_hand(here, lambda: here.ring_all_reduce(_mine(here))),
    right=_sum,
    targets=(
        _BY_HAND,
        Target("steps", "calls", "calls (a send and a recv in each step)", most=12),
        Target("bytes", "nbytes", "bytes sent and received", most=2 * 6 * _BYTES / 4),
    ),
    hints=(
        "The second half looks like the first: n - 1 steps, one chunk goes right, one comes from "
        "the left. But what comes is complete: it replaces a chunk.",
        "Rank r begins with the chunk that is complete there: r + 1. In the next step it passes on "
        "what it has just received: one chunk further down.",
        "outgoing = chunks[(rank + 1 - step) % world_size], and what comes belongs into "
        "chunks[(rank - step) % world_size][:].",
    ),
    mistakes=(
        _not_by_hand("%%dist\ndef ring_all_reduce(x):\n    dist.all_reduce(x)\n    return x\n"),
        Mistake(
            "not-into-x",
            "x is still as the first half left it. `chunks[k] = …` puts another tensor into the "
            "list; `chunks[k][:] = …` writes the numbers into x.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[(rank + 1 - step) % world_size]
        chunks[(rank - step) % world_size] = exchange(outgoing)
"""),
            says="has one complete chunk, as after the first half",
            gives=lambda here: _ring(here, steps=0),
        ),
        Mistake(
            "adds-again",
            "In the second half nothing is added any more: a complete chunk replaces an incomplete "
            "one. Write [:] = instead of +=.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[(rank + 1 - step) % world_size]
        chunks[(rank - step) % world_size] += exchange(outgoing)
"""),
            says="has numbers in it more than once",
            gives=lambda here: _ring(here, adds=True),
        ),
        Mistake(
            "starts-with-its-own",
            "Rank r has chunk r + 1 complete after the first half, not chunk r. Begin with that "
            "one.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[(rank - step) % world_size]
        chunks[(rank - step - 1) % world_size][:] = exchange(outgoing)
"""),
            says="has passed on chunks that were not complete",
            gives=lambda here: _ring(here, starts=0),
        ),
        Mistake(
            "a-step-too-few",
            "One chunk never arrives: a complete chunk has to pass n - 1 ranks, so it takes n - 1 "
            "steps.",
            _of("""    for step in range(world_size - 2):
        outgoing = chunks[(rank + 1 - step) % world_size]
        chunks[(rank - step) % world_size][:] = exchange(outgoing)
"""),
            says="lacks one chunk",
            gives=lambda here: _ring(here, steps=here.world_size - 2),
        ),
        Mistake(
            "a-step-too-many",
            "The result is right, and was so a step before: after n - 1 steps every chunk has been "
            "everywhere. The last step sends what its receiver has already.",
            _of("""    for step in range(world_size):
        outgoing = chunks[(rank + 1 - step) % world_size]
        chunks[(rank - step) % world_size][:] = exchange(outgoing)
"""),
            seen=lambda seen: seen.missed == {"steps", "bytes"},
        ),
        Mistake(
            "whole-tensors",
            "The steps are right, but the whole tensor travels in each of them. Send a chunk: the "
            "ring is fast because each message is only an n-th of the tensor.",
            """%%dist
def ring_all_reduce(x):
    passing = x.clone()
    for step in range(world_size - 1):
        passing = exchange(passing)
        x += passing
    return x
""",
            seen=lambda seen: seen.missed == {"bytes"},
        ),
        Mistake(
            "receives-first",
            "All ranks wait in recv, and none has sent. Use exchange(…), which starts its send "
            "before it receives.",
            _of("""    for step in range(world_size - 1):
        k = (rank - step) % world_size
        dist.recv(chunks[k], src=left)
        dist.send(chunks[(k + 1) % world_size], dst=right)
"""),
            seen=lambda seen: seen.hang == "mismatch",
        ),
    ),
)


# -- predictions -----------------------------------------------------------------------------

_PREDICTIONS = (
    Prediction(
        "digits",
        "Rank 0 gives nothing, and rank 2 gives its 100 twice. Which number is the sum?",
        Number(),
        cell="dist.all_reduce(odd)",
        truth=lambda here: here.odd,
        answer=1210,
        rank=0,
        why="From the right: none of rank 0, one of rank 1, two of rank 2, one of rank 3.",
        slips=(
            (121, "Almost: the digits stand the other way round, rank 0 is the last one."),
            (1111, "That would be all of them once."),
        ),
    ),
    Prediction(
        "naive-calls",
        "How many calls of send and recv does each rank make? A list, ranks 0 to 3.",
        Numbers(4),
        cell="naive_all_reduce(mine())",
        truth=lambda here: here.naive_all_reduce(_mine(here)),
        answer=[6, 2, 2, 2],
        counts="calls",
        why="Rank 0 receives from three and sends to three; the others send once and receive once.",
        slips=(
            ([3, 1, 1, 1], "That is half of it: the sum has to go back, too."),
            ([6, 1, 1, 1], "The others also receive the sum."),
        ),
    ),
    Prediction(
        "who-gets-through",
        "All ranks call recv from the left first, then send to the right. Which ranks come to "
        'their send? Such as "0,2", or "none".',
        Ranks(),
        cell="dist.recv(received, src=left)",
        truth=lambda here: [],  # noqa: ARG005 - the cell has hung: nobody did
        answer="none",
        rank=0,
        why="Each waits for its left neighbour to send, all around the ring.",
        slips=(
            ("0-3", "Then somebody must have been first to send. Who?"),
            ("0", "Rank 0 is no exception here: it waits for rank 3."),
        ),
    ),
    Prediction(
        "tree-steps",
        "How many steps does the tree take with 64 ranks, up and down?",
        Whole(),
        cell="summed = tree_all_reduce",
        truth=lambda here: 2 * (64).bit_length() - 2,  # noqa: ARG005 - 2 log2(64)
        answer=12,
        rank=0,
        why="2 · log2(64) = 12; the naive way takes 2 · 63 = 126, one after another.",
        slips=(
            (6, "Six up; and six down."),
            (126, "That is the naive way: 2 · 63."),
        ),
    ),
    Prediction(
        "complete",
        "After these three steps, one of the chunks 0 to 3 is complete on rank 0. Which?",
        Whole(),
        cell="history.append",
        truth=lambda here: [int(chunk[0]) for chunk in here.chunks].index(1111),
        answer=1,
        rank=0,
        why="The chunk that arrives last: in step 2 rank 0 receives chunk (0 - 2 - 1) % 4 = 1.",
        slips=(
            (0, "Chunk 0 is the one that rank 0 sent first, and has not seen since."),
            (3, "Chunk 3 came first, from rank 3; it went on without all the others."),
        ),
    ),
    Prediction(
        "ring-bytes",
        "How many bytes go through each rank in the ring, sent and received together? "
        "(8 numbers of 4 bytes; in the naive way 192 go through rank 0.)",
        Whole(),
        cell="summed = ring_all_reduce",
        truth=lambda here: here.ring_all_reduce(_mine(here)),
        answer=96,
        rank=0,
        counts="nbytes",
        why="6 steps, each with 8 bytes out and 8 in. With more ranks it stays below 4 times the "
        "tensor, 128: no rank is a bottleneck.",
        slips=(
            (48, "Sent, yes; the same comes in."),
            (384, "That would be with whole tensors in each of the 6 steps."),
        ),
    ),
    Prediction(
        "small",
        "64 ranks, a tensor of 8 numbers: which is done first, the tree or the ring?",
        Choice(("tree", "ring")),
        cell="milliseconds(",
        truth=lambda here: "tree",  # noqa: ARG005 - by the formulas, which the text derives
        answer="tree",
        rank=0,
        why="A tiny message costs its start: 12 steps against 126. The ring wins when the bytes "
        "cost more than the steps.",
        slips=(("ring", "The ring sends fewer bytes, but there are hardly any here."),),
    ),
)

LESSON = Lesson(
    name="04_all_reduce_by_hand",
    title="All-reduce by hand",
    minutes=40,
    ranks=4,
    predictions=_PREDICTIONS,
    exercises=(_TREE, _RING),
)
