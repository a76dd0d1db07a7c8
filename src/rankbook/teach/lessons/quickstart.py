"""Lesson 00: the quickstart, with the first guesses and the first collective of one's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, cell_of
from rankbook.teach.forms import Number, Ranks

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["LESSON"]

_MINE = (-3.0, -1.5, -2.0, -7.0)
"""The number of each rank. The largest is not that of the first or the last, and not above 0."""


def _try_largest(here: Here) -> Any:
    got = here.largest_over_ranks(_MINE[here.rank])
    if isinstance(got, here.torch.Tensor) and got.numel() == 1:
        return got.item()
    return got


_largest_cell = partial(cell_of, "largest_over_ranks(number)")

LESSON = Lesson(
    name="00_quickstart",
    title="Quickstart",
    minutes=15,
    ranks=4,
    predictions=(
        Prediction(
            "sum",
            "Rank r contributes r + 1. Which number does every rank hold after the all_reduce?",
            Number(),
            cell="x = torch.tensor([float(rank + 1)]",
            truth=lambda here: here.x.item(),
            rank=0,
            answer=10,
            why="1 + 2 + 3 + 4: all_reduce adds, and leaves the sum on every rank.",
            slips=(
                (6, "The ranks are 0 to 3, and rank r contributes r + 1."),
                (4, "That is what rank 3 contributes; all_reduce adds all of them."),
                (2.5, "That is the mean. all_reduce adds."),
            ),
        ),
        Prediction(
            "who-waits",
            'Which ranks would wait forever in that all_reduce? For example "0,2".',
            Ranks(),
            cell="if rank != 2:\n    dist.all_reduce(loss)",
            truth=lambda here: here.cell.stuck,
            rank=0,
            answer="0-1,3",
            why="Rank 2 has nothing to wait for: its cell is done. The others need it.",
            slips=(
                ("2", "Rank 2 skips the call, and its cell ends."),
                ("0-3", "Rank 2 does not call it, so it does not wait in it."),
                ("none", "A collective needs every rank: the others wait for rank 2."),
            ),
        ),
    ),
    exercises=(
        Exercise(
            name="largest",
            title="The largest number of all ranks",
            needs=("largest_over_ranks",),
            tries=_try_largest,
            right=lambda here: max(_MINE),  # noqa: ARG005 - the same on every rank
            hints=(
                "A collective takes a tensor: make one of the number first.",
                "dist.all_reduce adds, unless it is told otherwise: dist.ReduceOp.MAX.",
                "x = torch.tensor(number); dist.all_reduce(x, dist.ReduceOp.MAX); return x.item()",
            ),
            mistakes=(
                Mistake(
                    "own",
                    "Each rank returns its own number still. The result is in the tensor that "
                    "dist.all_reduce was given: return that.",
                    _largest_cell(
                        "dist.all_reduce(torch.tensor(number), dist.ReduceOp.MAX)", "return number"
                    ),
                    says="has its own number",
                    gives=lambda here: _MINE[here.rank],
                ),
                Mistake(
                    "sum",
                    "all_reduce adds, unless it is told otherwise: give it dist.ReduceOp.MAX, too.",
                    _largest_cell(
                        "x = torch.tensor(number)", "dist.all_reduce(x)", "return x.item()"
                    ),
                    says="has the sum",
                    gives=lambda here: sum(_MINE),  # noqa: ARG005 - the same on every rank
                ),
                Mistake(
                    "rank-0",
                    "That is the number of rank 0: a broadcast copies from one rank. Here the "
                    "numbers of all ranks are compared: dist.all_reduce with dist.ReduceOp.MAX.",
                    _largest_cell(
                        "x = torch.tensor(number)",
                        "dist.broadcast(x, src=0)",
                        "return x.item()",
                    ),
                    says="has the number of rank 0",
                    gives=lambda here: _MINE[0],  # noqa: ARG005 - the same on every rank
                ),
                Mistake(
                    "one-rank",
                    "Only some ranks call the collective, and wait for the others: move it out of "
                    "the `if`.",
                    _largest_cell(
                        "x = torch.tensor(number)",
                        "if rank == 0:",
                        "    dist.all_reduce(x, dist.ReduceOp.MAX)",
                        "return x.item()",
                    ),
                    seen=lambda seen: bool(seen.hang),
                ),
            ),
        ),
    ),
)
