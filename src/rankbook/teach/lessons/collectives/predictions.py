"""The predictions of lesson 03."""

from __future__ import annotations

from rankbook.teach.definitions import Prediction
from rankbook.teach.forms import Numbers, Ranks, Whole

__all__ = ["PREDICTIONS"]


PREDICTIONS = (
    Prediction(
        "lines",
        "How many lines of output does the next cell show?",
        Whole(),
        cell='print("I am here")',
        truth=lambda here: 1 + here.world_size,
        answer=5,
        rank=0,
        why="What all ranks print is shown once, with their numbers in front: [0-3]. What differs "
        "is shown for each of them.",
        slips=(
            (2, "There are four ranks, and each has its own x."),
            (8, "Four ranks print the same: that is shown once."),
        ),
    ),
    Prediction(
        "broadcast",
        "What does `told` hold on ranks 0 to 3 after the broadcast? A list of four numbers.",
        Numbers(4),
        cell="dist.broadcast(told, src=2)",
        truth=lambda here: here.told[0],
        answer=[20, 20, 20, 20],
        why="Rank 2 is the source: its tensor is written over that of the others.",
        slips=(
            ([0, 10, 20, 30], "That is before. A broadcast writes over it on every other rank."),
            ([0, 0, 0, 0], "src=2: the source is rank 2, not rank 0."),
        ),
    ),
    Prediction(
        "gathered",
        "What does rank 3 hold in `gathered`? A list of four numbers.",
        Numbers(4),
        cell="dist.all_gather(pieces, x)",
        truth=lambda here: here.gathered,
        answer=[0, 10, 20, 30],
        rank=3,
        why="All ranks hold the same after an all_gather, in the order of the ranks: one line of "
        "output for [0-3].",
        slips=(
            ([30, 0, 10, 20], "The order is that of the ranks, the same everywhere."),
            ([30, 30, 30, 30], "Each rank gives its own number, and gets those of all."),
        ),
    ),
    Prediction(
        "who-has-the-sum",
        'After dist.reduce(x, dst=0), which ranks hold the sum, 60? For example "0,2".',
        Ranks(),
        cell="dist.reduce(x, dst=0)",
        truth=lambda here: [0],  # noqa: ARG005 - what the others hold is not defined
        answer="0",
        rank=0,
        why="Only the destination. What the others hold is left over from computing the sum, and "
        "not defined: never use it.",
        slips=(
            ("0-3", "That would be all_reduce."),
            ("none", "It goes somewhere: dst=0."),
        ),
    ),
    Prediction(
        "reduce-scatter",
        "What does `part` hold on ranks 0 to 3? A list of four numbers.",
        Numbers(4),
        cell="dist.reduce_scatter(part",
        truth=lambda here: here.part[0],
        answer=[60, 64, 68, 72],
        why="Rank r gets the r-th number of the sum: 0+10+20+30, then 4 more in each place.",
        slips=(
            ([60, 60, 60, 60], "Each rank gets a different piece of the sum."),
            (
                [0, 11, 22, 33],
                "Those are single numbers; each rank's piece is summed over the ranks.",
            ),
            ([6, 46, 86, 126], "Each rank adds up its own row there; it is the columns."),
        ),
    ),
    Prediction(
        "transposed",
        "What does rank 1 hold in `out`? A list of four numbers.",
        Numbers(4),
        cell="dist.all_to_all_single(out, x)",
        truth=lambda here: here.out,
        answer=[1, 11, 21, 31],
        rank=1,
        why="Rank 1 gets the number in place 1 of every rank: rows have become columns.",
        slips=(
            ([10, 11, 12, 13], "That is what it gave."),
            ([0, 11, 22, 33], "Rank 1 gets what is in *its* place, place 1, of each rank."),
        ),
    ),
    Prediction(
        "who-prints",
        'Which ranks print "done"? For example "0,2".',
        Ranks(),
        cell="if rank != 1:\n    dist.barrier()",
        truth=lambda here: here.cell.passed,
        answer="1",
        rank=0,
        why="Rank 1 skips the barrier and is done. The others wait for it, and would do so until "
        "the job's timeout.",
        slips=(
            (
                "0,2-3",
                "They have called the barrier, but it opens only when all ranks have called it.",
            ),
            ("0-3", "The barrier never opens: rank 1 does not call it."),
            ("none", "Rank 1 has nothing to wait for."),
        ),
    ),
)
