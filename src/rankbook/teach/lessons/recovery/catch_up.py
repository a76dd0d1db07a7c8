"""The exercise on a newcomer that catches up with the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["CATCH_UP"]


_STEP = 12
"""Steps that the survivors have done."""
_NEWCOMERS = (2, 0, 3)
"""Three deaths: two are of the first and the last rank, from which many would copy."""


def _before(here: Here, rank: int, newcomer: int) -> list[Any]:
    """Weights, momentum and step of a rank: those of all survivors are the same."""
    torch = here.torch
    if rank == newcomer:
        return [torch.ones(3), torch.zeros(3), 0]
    return [torch.tensor([5.0, -6.0, 7.0]), torch.tensor([0.5, -0.25, 0.125]), _STEP]


def _try_catch_up(here: Here) -> list[Any]:
    return [value for newcomer in _NEWCOMERS for value in _caught_up(here, newcomer)]


def _caught_up(here: Here, newcomer: int) -> list[Any]:
    weights, momentum, step = _before(here, here.rank, newcomer)
    step = here.catch_up([weights[:2], weights[2:]], [momentum[:2], momentum[2:]], step)
    return [weights, momentum, step]


def _survivor(newcomer: int) -> int:
    return 1 if newcomer == 0 else 0


def _after(
    source: Callable[[int], int] = _survivor,
    *,
    weights: bool = True,
    momentum: bool = True,
    step: bool = True,
) -> Callable[[Here], list[Any]]:
    """What a rank has if so much is copied from a source, which depends on the newcomer."""

    def gives(here: Here) -> list[Any]:
        values = []
        for newcomer in _NEWCOMERS:
            own = _before(here, here.rank, newcomer)
            copied = _before(here, source(newcomer), newcomer)
            takes = (weights, momentum, step)
            values += [c if take else o for o, c, take in zip(own, copied, takes, strict=True)]
        return values

    return gives


def _largest(here: Here) -> list[Any]:
    """What comes of taking the largest of each number."""
    values: list[Any] = []
    for newcomer in _NEWCOMERS:
        each = [_before(here, rank, newcomer) for rank in range(here.world_size)]
        values += [here.torch.stack([rank[i] for rank in each]).amax(0) for i in (0, 1)]
        values.append(_STEP)
    return values


def _source_for_step(here: Here) -> list[Any]:
    """What comes of returning the number of the rank that is furthest."""
    values = _after()(here)
    values[2::3] = map(_survivor, _NEWCOMERS)
    return values


def _mean(here: Here) -> list[Any]:
    """What comes of averaging instead of copying."""
    values: list[Any] = []
    for newcomer in _NEWCOMERS:
        each = [_before(here, rank, newcomer) for rank in range(here.world_size)]
        values += [sum(rank[i] for rank in each) / here.world_size for i in (0, 1)]
        values.append(_STEP)
    return values


_catch_up_cell = partial(cell_of, "catch_up(weights, momentum, step)")

_FIND = (
    "steps = [torch.tensor(0) for _ in range(world_size)]",
    "dist.all_gather(steps, torch.tensor(step))",
    "furthest = torch.stack(steps).argmax().item()",
)
_COPY = ("for tensor in [*weights, *momentum]:", "    dist.broadcast(tensor, src=furthest)")

CATCH_UP = Exercise(
    name="catch-up",
    title="A newcomer catches up",
    needs=("catch_up",),
    tries=_try_catch_up,
    right=_after(),
    hints=(
        "First find out which rank is furthest: every rank needs the steps of all ranks.",
        "dist.all_gather(steps, torch.tensor(step)), where steps is a list of world_size tensors "
        "torch.tensor(0). Then all ranks know the same source.",
        "for tensor in [*weights, *momentum]: dist.broadcast(tensor, src=furthest). "
        "Return steps[furthest].item().",
    ),
    tools=("all_gather", "broadcast", "all_reduce", "MAX"),
    mistakes=(
        Mistake(
            "from-the-newcomer",
            "Everything was copied from the rank that is furthest behind: argmin. What the others "
            "have learned is lost. Look for the rank with the largest step: argmax.",
            _catch_up_cell(
                *_FIND[:2],
                _FIND[2].replace("argmax", "argmin"),
                *_COPY,
                "return steps[furthest].item()",
            ),
            says="has what the newcomer had",
            gives=_after(lambda newcomer: newcomer),
        ),
        Mistake(
            "sum",
            "The tensors of all ranks were added up. Nothing is to be computed here: copy them "
            "from the rank that is furthest, dist.broadcast.",
            _catch_up_cell(
                "for tensor in [*weights, *momentum]:",
                "    dist.all_reduce(tensor)",
                "step = torch.tensor(step)",
                "dist.all_reduce(step, dist.ReduceOp.MAX)",
                "return step.item()",
            ),
            says="has the sum over all ranks",
            gives=lambda here: [
                value * here.world_size if number % 3 < 2 else value  # noqa: PLR2004 - the step is third
                for number, value in enumerate(_mean(here))
            ],
        ),
        Mistake(
            "step-for-source",
            "src is the number of a rank, and that is how many steps it has done. Which rank has "
            "so many? All ranks need the steps of all ranks: all_gather, then argmax.",
            _catch_up_cell(
                "furthest = torch.tensor(step)",
                "dist.all_reduce(furthest, dist.ReduceOp.MAX)",
                "for tensor in [*weights, *momentum]:",
                "    dist.broadcast(tensor, src=furthest.item())",
                "return furthest.item()",
            ),
            seen=lambda seen: any(map(seen.raises, ("no such rank", "invalid root rank"))),
        ),
        Mistake(
            "rank-0",
            "Everything was copied from rank 0. When rank 0 is the newcomer, that overwrites what "
            "the others have learned. Look for the rank with the largest step.",
            _catch_up_cell(
                "step = torch.tensor(step)",
                "for tensor in [*weights, *momentum, step]:",
                "    dist.broadcast(tensor, src=0)",
                "return step.item()",
            ),
            says="has what rank 0 had, also where rank 0 was new",
            gives=_after(lambda newcomer: 0),  # noqa: ARG005 - from whatever is there
        ),
        Mistake(
            "last-rank",
            "Everything was copied from rank 3. When rank 3 is the newcomer, that overwrites what "
            "the others have learned. Look for the rank with the largest step.",
            _catch_up_cell(
                "step = torch.tensor(step)",
                "for tensor in [*weights, *momentum, step]:",
                "    dist.broadcast(tensor, src=world_size - 1)",
                "return step.item()",
            ),
            says="has what rank 3 had, also where rank 3 was new",
            gives=_after(lambda newcomer: 3),  # noqa: ARG005 - from whatever is there
        ),
        Mistake(
            "no-momentum",
            "The weights are there, the momentum is not: the newcomer would take other steps than "
            "the others from now on. Copy both lists.",
            _catch_up_cell(
                *_FIND,
                "for tensor in weights:",
                "    dist.broadcast(tensor, src=furthest)",
                "return steps[furthest].item()",
            ),
            says="has its own momentum",
            gives=_after(momentum=False),
        ),
        Mistake(
            "own-step",
            "The tensors are right, but the newcomer believes that it is at step 0. It would take "
            "the first samples again, and 12 steps more than the others. Return the step of the "
            "rank that is furthest.",
            _catch_up_cell(*_FIND, *_COPY, "return step"),
            says="returned its own step",
            gives=_after(step=False),
        ),
        Mistake(
            "mean",
            "That is a mean of what the ranks have: a fourth of it comes from a model that has "
            "learned nothing. Copy from one rank: dist.broadcast.",
            _catch_up_cell(
                "for tensor in [*weights, *momentum]:",
                "    dist.all_reduce(tensor)",
                "    tensor /= world_size",
                "step = torch.tensor(step)",
                "dist.all_reduce(step, dist.ReduceOp.MAX)",
                "return step.item()",
            ),
            says="has the mean over all ranks, the newcomer included",
            gives=_mean,
        ),
        Mistake(
            "largest",
            "The largest number is not the one that was learned last: weights and momentum can be "
            "negative. Copy all tensors from one rank: dist.broadcast.",
            _catch_up_cell(
                "for tensor in [*weights, *momentum]:",
                "    dist.all_reduce(tensor, dist.ReduceOp.MAX)",
                "step = torch.tensor(step)",
                "dist.all_reduce(step, dist.ReduceOp.MAX)",
                "return step.item()",
            ),
            says="has the largest of each number",
            gives=_largest,
        ),
        Mistake(
            "source-for-step",
            "That is the number of the rank that is furthest. The function returns how far that "
            "is: steps[furthest].",
            _catch_up_cell(*_FIND, *_COPY, "return furthest"),
            says="returned the number of a rank, not a step",
            gives=_source_for_step,
        ),
        Mistake(
            "nothing-copied",
            "The newcomer knows the step, but its tensors are its own still: every tensor of both "
            "lists has to be broadcast, and written in place.",
            _catch_up_cell(*_FIND, "return steps[furthest].item()"),
            says="has its own weights and momentum",
            gives=_after(weights=False, momentum=False),
        ),
        Mistake(
            "no-weights",
            "The momentum is there, the weights are not. Copy both lists.",
            _catch_up_cell(
                *_FIND,
                "for tensor in momentum:",
                "    dist.broadcast(tensor, src=furthest)",
                "return steps[furthest].item()",
            ),
            says="has its own weights",
            gives=_after(weights=False),
        ),
        Mistake(
            "newcomer-only",
            "Every rank takes part in a collective: ranks that have it all call broadcast, too, "
            "the source sends by the same call, and all name the same source.",
            _catch_up_cell(
                *_FIND,
                "if step < steps[furthest]:",
                "    for tensor in [*weights, *momentum]:",
                "        dist.broadcast(tensor, src=furthest)",
                "return steps[furthest].item()",
            ),
            seen=lambda seen: bool(seen.hang),
        ),
    ),
)
