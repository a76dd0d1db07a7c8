"""Lesson 01: hangs, and a mean over parts of unequal length that does not hang."""

from __future__ import annotations

from functools import partial
from math import isnan
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, Seen, Target, cell_of
from rankbook.teach.forms import Numbers, Ranks

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["LESSON"]

_PARTS: tuple[list[float], ...] = ([1.0, 2.0, 3.0], [10.0], [], [4.0, 8.0])
"""The numbers of each rank: of unequal length, and none on one."""
_TOTAL = sum(sum(part) for part in _PARTS)
_COUNT = sum(len(part) for part in _PARTS)


def _try_mean(here: Here) -> Any:
    got = here.mean_of_all(here.torch.tensor(_PARTS[here.rank]))
    if isinstance(got, here.torch.Tensor) and got.numel() == 1:
        got = got.item()
    here.note(nan=isinstance(got, float) and isnan(got))
    return got


def _own_mean(rank: int) -> float:
    part = _PARTS[rank]
    return sum(part) / max(1, len(part))


def _mean_of_means(here: Here) -> float:
    return sum(_own_mean(rank) for rank in range(here.world_size)) / here.world_size


def _is_nan(seen: Seen) -> bool:
    return not seen.hang and any(notes.get("nan") for notes in seen.notes.values())


_mean_cell = partial(cell_of, "mean_of_all(values)")

_MEAN = Exercise(
    name="mean-of-all",
    title="A mean that does not hang",
    needs=("mean_of_all",),
    tries=_try_mean,
    right=lambda here: _TOTAL / _COUNT,  # noqa: ARG005 - the same on every rank
    targets=(Target("calls", "calls", "calls", most=2),),
    hints=(
        "What must every rank do equally often, however many numbers it has?",
        "A rank without numbers contributes a sum of 0 and a count of 0.",
        "both = torch.tensor([values.sum(), float(len(values))]); dist.all_reduce(both); return "
        "both[0] / both[1]",
    ),
    mistakes=(
        Mistake(
            "mean-of-means",
            "That is the mean of the ranks' means: the one number of rank 1 counts as much as the "
            "three of rank 0. Add up sums and counts, and divide at the end.",
            _mean_cell(
                "mean = values.mean() if len(values) else torch.tensor(0.0)",
                "dist.all_reduce(mean)",
                "return mean / world_size",
            ),
            says="has the mean of the ranks' means",
            gives=_mean_of_means,
        ),
        Mistake(
            "nan",
            "The mean of no numbers is nan, and one nan makes every sum nan. Add up sums and "
            "counts, which are 0 where there is nothing, and divide at the end.",
            _mean_cell("mean = values.mean()", "dist.all_reduce(mean)", "return mean / world_size"),
            seen=_is_nan,
        ),
        Mistake(
            "own-count",
            "The sum is that of all ranks, but each has divided it by its own count. The count has "
            "to be added up over the ranks, too.",
            _mean_cell(
                "total = values.sum()",
                "dist.all_reduce(total)",
                "return total / max(1, len(values))",
            ),
            says="has divided by its own count",
            gives=lambda here: _TOTAL / max(1, len(_PARTS[here.rank])),
        ),
        Mistake(
            "own",
            "Each rank has averaged its own numbers. What do the others have? It takes a "
            "collective.",
            _mean_cell("return values.sum() / max(1, len(values))"),
            says="has averaged its own numbers",
            gives=lambda here: _own_mean(here.rank),
        ),
        Mistake(
            "unequal-calls",
            "A rank with more numbers calls more often, or one without numbers does not call at "
            "all. Add up first; then every rank makes the same call once, with zeros where there "
            "is nothing.",
            _mean_cell(
                "total, count = values.sum(), torch.tensor(float(len(values)))",
                "if len(values):",
                "    dist.all_reduce(total)",
                "    dist.all_reduce(count)",
                "return total / count",
            ),
            seen=lambda seen: bool(seen.hang),
        ),
    ),
)

LESSON = Lesson(
    name="01_debugging_hangs",
    title="Debugging hangs",
    minutes=30,
    ranks=4,
    predictions=(
        Prediction(
            "batches",
            "How many batches of eight, or fewer, has each rank? A list of four numbers.",
            Numbers(4),
            cell="trained on {len(shard)} samples",
            truth=lambda here: len(here.shard.split(8)),
            answer=[4, 4, 4, 3],
            why="25 samples are three batches of eight and one of a single sample; 24 are three.",
            slips=(
                ([3, 3, 3, 3], "Ranks 0 to 2 have 25 samples: the last one is a batch of its own."),
                ([4, 4, 4, 4], "Rank 3 has 24 samples, which are three batches of eight."),
            ),
        ),
        Prediction(
            "who-sends",
            'Which ranks get as far as their `send`? For example "0,2", or "none".',
            Ranks(),
            cell="dist.recv(received, src=left)",
            truth=lambda here: here.cell.passed,
            rank=0,
            answer="none",
            why="Every rank receives first, and nobody has sent anything.",
            slips=(
                ("0", "Rank 0 receives first, too: from rank 3."),
                ("0-3", "recv returns when something has come, and nobody sends before that."),
            ),
        ),
    ),
    exercises=(_MEAN,),
)
