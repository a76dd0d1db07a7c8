"""The predictions: how long a rank is idle, and what it keeps."""

from __future__ import annotations

from typing import Any

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Number, Numbers, Ranks, Whole

__all__ = ["PREDICTIONS"]


def _most_kept(name: str) -> Any:
    return lambda here: getattr(here, name).most


PREDICTIONS = (
    Prediction(
        "busy",
        "One batch goes through four stages and back. What share of the time does a rank compute? "
        "A number between 0 and 1.",
        Number(),
        cell='alone = run([("F", 0), ("B", 0)])',
        truth=lambda here: 1 / here.world_size,
        answer=0.25,
        rank=0,
        tolerance=0.05,
        why="One rank at a time computes, and there are four.",
        slips=(
            (1, "While one rank computes, the next one has nothing to compute with yet."),
            (0.5, "Forward and backward take turns, but also only on one rank at a time."),
        ),
    ),
    Prediction(
        "bubble",
        "Eight micro-batches, four stages. What share of the time is a rank idle? A number "
        "between 0 and 1.",
        Number(),
        cell="piped = run(gpipe(",
        truth=lambda here: 3 / 11,  # noqa: ARG005 - the formula, which the text derives
        answer=0.27,
        rank=0,
        tolerance=0.15,
        why="(p - 1) / (m + p - 1) = 3 / 11: each rank waits three times for a micro-batch, and "
        "works eight times.",
        slips=(
            (0.375, "3 of 8? The three come on top of the eight: 3 of 11."),
            (0.75, "That is without micro-batches."),
            (0, "At the beginning the last rank has nothing to do yet, and at the end the first."),
        ),
    ),
    Prediction(
        "kept",
        "How many micro-batches' activations does rank 0 keep at most, under GPipe with eight?",
        Whole(),
        cell="piped.most",
        truth=_most_kept("piped"),
        answer=8,
        rank=0,
        why="All of them: the first backward pass comes after the last forward pass.",
        slips=(
            (4, "One for each stage would be enough, with another schedule."),
            (1, "They are needed until their backward pass."),
        ),
    ),
    Prediction(
        "kept-less",
        "And under 1F1B, on ranks 0 to 3? A list of four numbers.",
        Numbers(4),
        cell="woven = run(one_f_one_b(",
        truth=_most_kept("woven"),
        answer=[4, 3, 2, 1],
        why="As many as a rank is ahead, and the one that it is at: it no longer depends on the "
        "number of micro-batches.",
        slips=(
            ([3, 2, 1, 0], "Those are the ones that it is ahead; and one that it is at."),
            ([8, 8, 8, 8], "That is GPipe."),
            ([1, 2, 3, 4], "The other way round: the first rank has to be ahead furthest."),
        ),
    ),
    Prediction(
        "who-began",
        "Rank 1 does seven micro-batches, the others eight. Which two ranks wait for each other? "
        'For example "0,3".',
        Ranks(),
        cell="batches = 7 if rank == 1 else 8",
        truth=lambda here: here.cell.culprits,
        answer="1-2",
        rank=0,
        why="Rank 1 waits for a gradient from rank 2, and rank 2 for an activation from rank 1.",
        slips=(
            ("0-1", "Rank 0 waits for rank 1, but rank 1 has all that it wants from rank 0."),
            ("2-3", "Rank 3 waits for rank 2, and rank 2 for rank 1, not for rank 3."),
            ("1", "It takes two to wait for each other."),
        ),
    ),
)
