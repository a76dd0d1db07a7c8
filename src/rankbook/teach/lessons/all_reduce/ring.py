"""The exercise on the ring: all-reduce in chunks, from neighbour to neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target
from rankbook.teach.watching import by_hand

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.all_reduce import shared

__all__ = ["RING"]


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
    return values.repeat_interleave(shared.NUMBERS // n)


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


RING = Exercise(
    name="ring",
    title="All-reduce as a ring",
    needs=("ring_all_reduce", "exchange"),
    tries=lambda here: by_hand(here, lambda: here.ring_all_reduce(shared.given(here))),
    right=shared.total,
    targets=(
        shared.BY_HAND,
        Target("steps", "calls", "calls (a send and a recv in each step)", most=12),
        Target("bytes", "nbytes", "bytes sent and received", most=2 * 6 * shared.BYTES / 4),
    ),
    hints=(
        "The second half looks like the first: n - 1 steps, one chunk goes right, one comes from "
        "the left. But what comes is complete: it replaces a chunk.",
        "Rank r begins with the chunk that is complete there: r + 1. In the next step it passes on "
        "what it has just received: one chunk further down.",
        "outgoing = chunks[(rank + 1 - step) % world_size], and what comes goes into "
        "chunks[(rank - step) % world_size][:].",
    ),
    mistakes=(
        shared.not_by_hand(
            "%%dist\ndef ring_all_reduce(x):\n    dist.all_reduce(x)\n    return x\n"
        ),
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
