"""Lesson 02: training survives; and which checkpoint all ranks can load."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rankbook.teach.definitions import Exercise, Lesson, Mistake, Prediction, cell_of
from rankbook.teach.forms import Ranks, Whole

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["LESSON"]

_SAVED = ([10, 20, 40], [10, 20, 30], [10, 20, 30, 50], [20, 30, 40, 60])
"""The steps of which each rank has a checkpoint. The newest that all have is 20."""


def _newest_of(rank: int) -> int:
    return _SAVED[rank][-1]


_newest_cell = partial(cell_of, "newest_common(steps)")

_GATHER = ("saved = [None] * world_size", "dist.all_gather_object(saved, steps)")

_NEWEST = Exercise(
    name="newest-common",
    title="The checkpoint that all ranks have",
    needs=("newest_common",),
    tries=lambda here: here.newest_common(list(_SAVED[here.rank])),
    right=lambda here: max(set.intersection(*map(set, _SAVED))),  # noqa: ARG005 - the same on all
    hints=(
        "One number of each rank is not enough: a rank can lack a step between two that it has.",
        "dist.all_gather_object(saved, steps) puts the lists of all ranks into `saved`, a list of "
        "world_size entries.",
        "saved = [None] * world_size; dist.all_gather_object(saved, steps); return "
        "max(set.intersection(*map(set, saved)))",
    ),
    mistakes=(
        Mistake(
            "own",
            "Each rank returns the newest that it has itself: they would load different steps. It "
            "takes a collective.",
            _newest_cell("return max(steps)"),
            says="has the newest of its own",
            gives=lambda here: _newest_of(here.rank),
        ),
        Mistake(
            "smallest",
            "The smallest of the newest steps is not on every rank: rank 0 has no step 30. Look at "
            "the whole lists.",
            _newest_cell(*_GATHER, "return min(max(each) for each in saved)"),
            says="has the smallest of all newest steps",
            gives=lambda here: min(map(_newest_of, range(here.world_size))),
        ),
        Mistake(
            "largest",
            "That is the newest step that any rank has. All ranks must have it: look for what is "
            "in every list.",
            _newest_cell(*_GATHER, "return max(max(each) for each in saved)"),
            says="has the newest of any rank",
            gives=lambda here: max(map(_newest_of, range(here.world_size))),
        ),
        Mistake(
            "rank-0",
            "That is the newest that rank 0 has, whatever the others have.",
            _newest_cell(
                "step = torch.tensor(max(steps))",
                "dist.broadcast(step, src=0)",
                "return step.item()",
            ),
            says="has the newest of rank 0",
            gives=lambda here: _newest_of(0),  # noqa: ARG005 - the same on every rank
        ),
        Mistake(
            "only-rank-0",
            "Only rank 0 knows: gather_object collects on one rank. Every rank has to load, so "
            "every rank needs the result: dist.all_gather_object.",
            _newest_cell(
                "saved = [None] * world_size if rank == 0 else None",
                "dist.gather_object(steps, saved, dst=0)",
                "return max(set.intersection(*map(set, saved))) if rank == 0 else None",
            ),
            seen=lambda seen: not seen.hang and not seen.raised and seen.right == {0},
        ),
        Mistake(
            "one-rank",
            "Only some ranks call the collective, and wait for the others: every rank has to call "
            "it.",
            _newest_cell(*_GATHER[:1], "if rank == 0:", f"    {_GATHER[1]}", "return max(steps)"),
            seen=lambda seen: bool(seen.hang),
        ),
    ),
)


def _differing(here: Here) -> int:
    pairs = zip(here.curve, here.undisturbed, strict=True)
    return sum(one != other for one, other in pairs)


LESSON = Lesson(
    name="02_training_survives",
    title="Training survives",
    minutes=25,
    ranks=4,
    predictions=(
        Prediction(
            "differing-losses",
            "How many of the 60 losses will differ from those of the undisturbed run?",
            Whole(),
            cell="curve += train(model, optimizer, range(40, 60))\ncurve == undisturbed",
            truth=_differing,
            rank=0,
            answer=0,
            why="No rank had stepped when the ranks hung, and rank 2 got the weights and the "
            "optimizer's state of rank 0, which were its own, too.",
            slips=(
                (40, "A hang changes no parameter: no rank had reached optimizer.step()."),
                (20, "What rank 2 lost, the other ranks have, too: it got a copy from rank 0."),
                (60, "The first 20 steps ran undisturbed."),
            ),
        ),
        Prediction(
            "who-has-its-part",
            "When rank 2 is lost, which ranks still have its part of the weights? For example "
            '"0,2", or "none".',
            Ranks(),
            cell="curve_sharded == undisturbed_sharded",
            truth=lambda here: [],  # noqa: ARG005 - of FSDP, and not of this run
            rank=0,
            answer="none",
            why="FSDP keeps each part on one rank. So it takes a checkpoint.",
            slips=(
                ("0-1,3", "That is DDP. With FSDP each rank keeps its own part only."),
                ("0", "Rank 0 has a part like any other, its own."),
            ),
        ),
    ),
    exercises=(_NEWEST,),
)
