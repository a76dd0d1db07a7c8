"""The exercise on the tree: all-reduce in as many steps as a sum has levels."""

from __future__ import annotations

from typing import Any

from rankbook.teach.definitions import Exercise, Mistake, Target
from rankbook.teach.lessons.all_reduce import shared
from rankbook.teach.watching import by_hand

__all__ = ["TREE"]


def _of_rank(*values: int) -> Any:
    """A mistake whose values on ranks 0 to 3 are known."""
    return lambda here: shared.scaled(here, values[here.rank])


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

_TOO_SHORT = """    while distance > 1:
        if rank % (2 * distance) == 0:
            dist.send(x, dst=rank + distance)
        elif rank % (2 * distance) == distance:
            dist.recv(x, src=rank - distance)
        distance //= 2
    return x
"""
"""A way down without its last step."""

TREE = Exercise(
    name="tree",
    title="All-reduce as a tree",
    needs=("tree_all_reduce",),
    tries=lambda here: by_hand(here, lambda: here.tree_all_reduce(shared.given(here))),
    right=shared.total,
    targets=(shared.BY_HAND, shared.at_least(2), Target("steps", "calls", "calls", most=4)),
    hints=(
        "On the way up the distances were 1, 2. The way down has the same distances backwards.",
        "Start with distance = world_size // 2, and halve it after each step.",
        "In a step of the way down, a rank that received on the way up sends: "
        "rank % (2 * distance) == 0 sends to rank + distance, which receives.",
    ),
    tools=("send", "recv"),
    mistakes=(
        shared.not_by_hand(f"{_UP}    dist.broadcast(x, src=0)\n    return x\n"),
        shared.told_nobody("tree_all_reduce"),
        Mistake(
            "halves-too-late",
            "After the way up distance is 4, one step too far: no rank has a partner there. Halve "
            "it before a step of the way down, not after it.",
            f"{_UP}{_TOO_SHORT}",
            seen=lambda seen: seen.raises("send to rank 4: there is no such rank"),
        ),
        Mistake(
            "stops-before-the-last-step",
            "The last step of the way down is missing, distance 1: ranks 0 and 2 have the sum, and "
            "do not pass it on. Look at when the loop ends.",
            f"{_UP}    distance = world_size // 2\n{_TOO_SHORT}",
            says="has only what it had on the way up",
            seen=lambda seen: (
                [seen.findings.get(rank) for rank in range(4)]
                == ["right", "no-way-down", "right", "no-way-down"]
            ),
        ),
        Mistake(
            "no-way-down",
            "Rank 0 has the sum, and x on the others is as the way up has left it: the way down is "
            "missing, or what it receives does not get into x.",
            f"{_UP}    return x\n",
            says="has only what it had on the way up",
            gives=_of_rank(1111, 10, 1100, 1000),
        ),
        Mistake(
            "up-again",
            "The sends and recvs are those of the way up, in reverse order: what comes back from "
            "ranks 1 and 2 are their old numbers. On the way down a rank that received sends, and "
            "one that sent receives.",
            f"""{_UP}    while distance > 1:
        distance //= 2
        if rank % (2 * distance) == distance:
            dist.send(x, dst=rank - distance)
        elif rank % (2 * distance) == 0:
            dist.recv(x, src=rank + distance)
    return x
""",
            says="has received the old number of another rank",
            seen=lambda seen: (
                [seen.findings.get(rank) for rank in range(4)]
                == ["other", "no-way-down", "other", "no-way-down"]
            ),
        ),
        Mistake(
            "one-by-one",
            "The result is right, but rank 0 sends it to all others, one after another. Let each "
            "rank that has the sum pass it on in the next step: distances 2, then 1.",
            f"""{_UP}    for other in range(1, world_size):
        if rank == 0:
            dist.send(x, dst=other)
        elif rank == other:
            dist.recv(x, src=0)
    return x
""",
            seen=lambda seen: "steps" in seen.missed,
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
