"""A lesson as somebody else would write one: a module with a LESSON."""

from __future__ import annotations

from rankbook.teach import Choice, Exercise, Lesson, Mistake, Prediction, Ranks, Target, Whole


def sum_of(here, factor=1):
    return float(factor * sum(range(1, here.world_size + 1)))


LESSON = Lesson(
    name="own",
    title="Our own",
    minutes=5,
    ranks=2,
    predictions=(
        Prediction(
            "total",
            "What is the sum?",
            Whole(),
            cell="total = add(",
            truth=lambda here: here.total,
            answer=3,
            rank=0,
            slips=((2, "That is rank 1's."),),
            why="1 + 2.",
        ),
        Prediction(
            "end",
            "How does it end?",
            Choice(("all done", "error", "hang")),
            cell="if rank == ",
            truth=lambda here: f"{here.cell.how}",
            answer="hang",
            rank=0,
            measured=True,
        ),
        Prediction(
            "stuck",
            "Who gets stuck?",
            Ranks(2),
            cell="if rank == ",
            truth=lambda here: here.cell.stuck,
            answer="0",
            rank=1,
            measured=True,
        ),
    ),
    exercises=(
        Exercise(
            "add",
            "Add up",
            needs=("add",),
            tries=lambda here: here.add(here.rank + 1.0),
            right=sum_of,
            targets=(Target("calls", "calls", "calls", most=1),),
            hints=("Which collective adds?", "all_reduce."),
            timeout=3.0,
            mistakes=(
                Mistake(
                    "twice", "Once.", "", says="has the sum twice", gives=lambda h: sum_of(h, 2)
                ),
                Mistake("hang", "All ranks.", "", seen=lambda s: s.hang == "missing_rank"),
            ),
        ),
    ),
)
