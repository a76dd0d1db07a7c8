"""The exercise on capacity: how many tokens an expert takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rankbook.teach.definitions import Exercise, Mistake, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.experts import shared

__all__ = ["WITHIN"]


_CAPACITY = 2


def _kept(keeps: Callable[[list[int], int], bool]) -> Callable[[Here], list[bool]]:
    """Which tokens are kept, by the experts of all tokens and the number of one of them."""

    def gives(here: Here) -> list[bool]:
        wishes = list(shared.WISHES[here.rank])
        return [keeps(wishes, number) for number in range(len(wishes))]

    return gives


def _before(wishes: list[int], number: int) -> int:
    """How many tokens before this one want the same expert."""
    return wishes[:number].count(wishes[number])


_capacity_cell = partial(cell_of, "within_capacity(choice, capacity)")

_PLACE = (
    "one_hot = nn.functional.one_hot(choice, world_size)",
    "place = one_hot.cumsum(dim=0).gather(1, choice[:, None]).squeeze(1)",
)

WITHIN = Exercise(
    name="capacity",
    title="The first tokens of each expert",
    needs=("within_capacity",),
    tries=lambda here: (
        here.torch.as_tensor(here.within_capacity(shared.choice_of(here, here.rank), _CAPACITY))
        .bool()
        .tolist()
    ),
    right=_kept(lambda wishes, number: _before(wishes, number) < _CAPACITY),
    hints=(
        "For each token, count the tokens before it that want the same expert. A loop with a "
        "counter for each expert will do.",
        "Without a loop: nn.functional.one_hot(choice, world_size) is a table of tokens and "
        "experts, and its cumsum(dim=0) counts down the columns.",
        "place = one_hot.cumsum(dim=0).gather(1, choice[:, None]).squeeze(1); "
        "return place <= capacity",
    ),
    mistakes=(
        Mistake(
            "one-too-many",
            "One token too many is kept for each expert. cumsum counts from 1: the last one that "
            "is kept has place == capacity; counted from 0, it has capacity - 1.",
            _capacity_cell(*_PLACE, "return place - 1 <= capacity"),
            says="keeps one token too many",
            gives=_kept(lambda wishes, number: _before(wishes, number) <= _CAPACITY),
        ),
        Mistake(
            "all-or-none",
            "An expert that is wanted too much loses all of its tokens that way. It takes the "
            "first ones, up to its capacity.",
            _capacity_cell(
                "counts = torch.bincount(choice, minlength=world_size)",
                "return counts[choice] <= capacity",
            ),
            says="drops all tokens of a full expert",
            gives=_kept(lambda wishes, number: wishes.count(wishes[number]) <= _CAPACITY),
        ),
        Mistake(
            "first-of-all",
            "Those are the first tokens of the rank, whatever they want. The capacity is counted "
            "for each expert by itself.",
            _capacity_cell("return torch.arange(len(choice)) < capacity * world_size // 2"),
            says="keeps the first tokens, whatever they want",
            gives=_kept(lambda wishes, number: number < 2 * _CAPACITY),  # noqa: ARG005 - whatever
        ),
    ),
)
