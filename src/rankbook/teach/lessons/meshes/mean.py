"""The exercise on the mean over the copies of a shard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Exercise, Mistake, Target

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.meshes import shared

__all__ = ["MEAN"]


def _try_mean(here: Here) -> list[Any]:
    parameters = [here.torch.zeros(shape, requires_grad=True) for shape in ((4,), (2, 3))]
    for parameter in parameters:
        parameter.grad = here.torch.full_like(parameter, 10.0**here.rank)
    here.average_gradients(parameters)
    return [parameter.grad for parameter in parameters]


def _mean(lists: list[list[int]], divisor: float) -> Callable[[Here], list[Any]]:
    """A sum over the group that a rank is in, divided by something."""

    def gives(here: Here) -> list[Any]:
        total = sum(10.0**rank for rank in shared.list_of(lists, here.rank))
        return [here.torch.full(shape, total / divisor) for shape in ((4,), (2, 3))]

    return gives


def _first_only(here: Here) -> list[Any]:
    return [_mean(shared.COLUMNS, 2)(here)[0], _mean(_ALONE, 1)(here)[1]]


_ALONE = [[0], [1], [2], [3]]


def _mean_cell(group: str, divisor: str) -> str:
    divide = f"        parameter.grad /= {divisor}\n" if divisor else ""
    return (
        "%%dist\ndef average_gradients(parameters):\n    for parameter in parameters:\n"
        f"        dist.all_reduce(parameter.grad{group})\n{divide}"
    )


MEAN = Exercise(
    name="mean",
    title="Average over the copies",
    needs=("average_gradients",),
    tries=_try_mean,
    parts=("the gradient of parameters[0]", "the gradient of parameters[1]"),
    right=_mean(shared.COLUMNS, 2),
    targets=(Target("calls", "calls", "calls", most=2),),
    hints=(
        "Which ranks hold the same weights as this one: those of its row, or those of its column?",
        "dist.all_reduce(parameter.grad, group=...) adds; then divide by the size of that group.",
        "dist.all_reduce(parameter.grad, group=column); "
        "parameter.grad /= dist.get_world_size(column)",
    ),
    tools=("all_reduce", "AVG"),
    mistakes=(
        Mistake(
            "first-only",
            "Only the first gradient was averaged: something ends the loop in its first turn, a "
            "return or a break that stands inside it.",
            _mean_cell(", group=column", "2") + "        return\n",
            says="has averaged the first gradient only",
            gives=_first_only,
        ),
        Mistake(
            "all-ranks",
            "All four ranks take part in that mean. Two of them hold the other half of the model: "
            "gradients of different weights have been mixed. Pass the group of the copies: group=.",
            _mean_cell("", "world_size"),
            says="has the mean over all four ranks",
            gives=_mean([[0, 1, 2, 3]], 4),
        ),
        Mistake(
            "half-of-all",
            "All four ranks were added up. Two of them hold the other half of the model: gradients "
            "of different weights have been mixed. Pass the group of the copies: group=.",
            _mean_cell("", "2"),
            says="has half of the sum over all four ranks",
            gives=_mean([[0, 1, 2, 3]], 2),
        ),
        Mistake(
            "untouched",
            "Every rank has to change parameter.grad itself; dist.all_reduce(parameter.grad, ...) "
            "does. The optimizer sees neither a copy of it nor what the function returns.",
            "%%dist\ndef average_gradients(parameters):\n    for parameter in parameters:\n"
            "        mean = parameter.grad / 2\n        dist.all_reduce(mean, group=column)\n",
            says="has its own gradients, as they were",
            gives=_mean(_ALONE, 1),
        ),
        Mistake(
            "row",
            "The ranks of a row hold different halves of one copy: there is nothing to average. "
            "Copies of the same half stand in a column.",
            _mean_cell(", group=row", "dist.get_world_size(row)"),
            says="has averaged over its row",
            gives=_mean(shared.ROWS, 2),
        ),
        Mistake(
            "too-small",
            "The right ranks were added up, but world_size is 4, and there are two copies. Divide "
            "by the size of the group that was summed over.",
            _mean_cell(", group=column", "world_size"),
            says="has half of the mean",
            gives=_mean(shared.COLUMNS, 4),
        ),
        Mistake(
            "sum",
            "The right ranks were added up, but that is the sum. For the mean, divide by the "
            "number of copies.",
            _mean_cell(", group=column", ""),
            says="has the sum, not the mean",
            gives=_mean(shared.COLUMNS, 1),
        ),
    ),
)
