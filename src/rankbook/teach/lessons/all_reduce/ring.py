"""The exercise on the ring: all-reduce in chunks, from neighbour to neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target
from rankbook.teach.watching import by_hand

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.all_reduce import shared

__all__ = ["RING"]


def _ring(
    here: Here,
    *,
    adds: bool = False,
    starts: int = 1,
    into: int | None = None,
    way: int = -1,
    steps: int | None = None,
) -> Any:
    """What a ring leaves on this rank, worked out without sending anything.

    Args:
        here: The rank.
        adds: Whether the second half adds, instead of copying.
        starts: Which chunk a rank sends first in the second half, counted from its own.
        into: Into which it puts what comes then; None: into the one that its neighbour has sent.
        way: By how much the two are further in the next step.
        steps: Of the second half; None: one fewer than ranks.
    """
    n = here.world_size
    held = [[(chunk + 1) * 10**rank for chunk in range(n)] for rank in range(n)]
    for step in range(n - 1):
        sent = [held[rank][(rank - step) % n] for rank in range(n)]
        for rank in range(n):
            held[rank][(rank - step - 1) % n] += sent[rank - 1]
    for step in range(n - 1 if steps is None else steps):
        sent = [held[rank][(rank + starts + way * step) % n] for rank in range(n)]
        for rank in range(n):
            chunk = (rank + (starts - 1 if into is None else into) + way * step) % n
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
        shared.at_least(12),
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
    tools=("send", "recv"),
    mistakes=(
        shared.not_by_hand(
            "%%dist\ndef ring_all_reduce(x):\n    dist.all_reduce(x)\n    return x\n"
        ),
        shared.told_nobody("ring_all_reduce"),
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
            "into-another-place",
            "What comes is put into another place than it was sent from. Your left neighbour, rank "
            "r - 1, sends its chunk r - step: it belongs into your chunk r - step, too.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[(rank + 1 - step) % world_size]
        chunks[(rank - step - 1) % world_size][:] = exchange(outgoing)
"""),
            says="has chunks in places of others",
            gives=lambda here: _ring(here, into=-1),
        ),
        Mistake(
            "the-other-way-round",
            "The next chunk to pass on is the one that has just come, one further down: rank + 1 - "
            "step. With + step a rank sends what it has not got yet.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[(rank + 1 + step) % world_size]
        chunks[(rank + step) % world_size][:] = exchange(outgoing)
"""),
            says="has passed on chunks that had not come",
            gives=lambda here: _ring(here, way=1),
        ),
        Mistake(
            "one-chunk-only",
            "One chunk has come, and no other. In each next step a rank passes on the chunk that "
            "it has just received: n - 1 steps, and step in both indices.",
            _of("""    for step in range(world_size - 1):
        chunks[rank][:] = exchange(chunks[(rank + 1) % world_size])
"""),
            says="has got one chunk, and no other",
            gives=lambda here: _ring(here, way=0),
        ),
        Mistake(
            "the-first-half-again",
            "That is the first half once more. In the second, rank r begins with chunk r + 1, "
            "which is complete there, and what comes replaces a chunk.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[(rank - step) % world_size]
        chunks[(rank - step - 1) % world_size] += exchange(outgoing)
"""),
            says="has numbers in it several times",
            gives=lambda here: _ring(here, adds=True, starts=0),
        ),
        Mistake(
            "not-around",
            "Numbers of chunks go around, as the ranks do: after 3 comes 0. It takes % world_size.",
            _of("""    for step in range(world_size - 1):
        outgoing = chunks[rank + 1 - step]
        chunks[rank - step][:] = exchange(outgoing)
"""),
            seen=lambda seen: seen.raises("list index out of range"),
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
            "The result is right, but the messages are too large. In each step one chunk travels, "
            "as it is: the ring is fast because a message is only an n-th of the tensor.",
            """%%dist
def ring_all_reduce(x):
    passing = x.clone()
    for step in range(world_size - 1):
        passing = exchange(passing)
        x += passing
    return x
""",
            seen=lambda seen: "bytes" in seen.missed and "steps" not in seen.missed,
        ),
        Mistake(
            "receives-first",
            "All ranks wait in the same call: in recv, and none has sent; or in send, and none "
            "receives. Use exchange(…), which starts its send, then receives.",
            _of("""    for step in range(world_size - 1):
        k = (rank - step) % world_size
        dist.recv(chunks[k], src=left)
        dist.send(chunks[(k + 1) % world_size], dst=right)
"""),
            seen=lambda seen: seen.hang == "mismatch",
        ),
    ),
)
