"""The exercise on capacity: how many tokens an expert takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

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


def _of_all_experts(here: Here) -> list[list[bool]]:
    wishes = shared.WISHES[here.rank]
    return [
        [wishes[: number + 1].count(expert) <= _CAPACITY for expert in range(4)]
        for number in range(len(wishes))
    ]


def _in_the_order_of_experts(here: Here) -> list[bool]:
    ordered = sorted(shared.WISHES[here.rank])
    return [_before(ordered, number) < _CAPACITY for number in range(len(ordered))]


def _try_capacity(here: Here) -> Any:
    kept = here.within_capacity(shared.choice_of(here, here.rank), _CAPACITY)
    kept = here.torch.as_tensor(kept).bool()
    here.note(all=bool(kept.all()))
    return kept.tolist()


_capacity_cell = partial(cell_of, "within_capacity(choice, capacity)")

_PLACE = (
    "one_hot = nn.functional.one_hot(choice, world_size)",
    "place = one_hot.cumsum(dim=0).gather(1, choice[:, None]).squeeze(1)",
)

WITHIN = Exercise(
    name="capacity",
    title="The first tokens of each expert",
    needs=("within_capacity",),
    tries=_try_capacity,
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
            "one-too-few",
            "One token too few is kept for each expert. cumsum counts from 1: the last one that is "
            "kept has place == capacity.",
            _capacity_cell(*_PLACE, "return place < capacity"),
            says="keeps one token too few",
            gives=_kept(lambda wishes, number: _before(wishes, number) + 1 < _CAPACITY),
        ),
        Mistake(
            "along-the-experts",
            "cumsum has counted along the experts, where each token has a single 1. Count down the "
            "tokens: cumsum(dim=0).",
            _capacity_cell(_PLACE[0], _PLACE[1].replace("dim=0", "dim=1"), "return place <= 2"),
            says="keeps every token",
            seen=lambda seen: (
                bool(seen.findings) and all(notes.get("all") for notes in seen.notes.values())
            ),
        ),
        Mistake(
            "of-all-experts",
            "That is a table of tokens and experts. Take the entry of each token's own expert: "
            ".gather(1, choice[:, None]).squeeze(1).",
            _capacity_cell(_PLACE[0], "return one_hot.cumsum(dim=0) <= capacity"),
            says="has an entry for each expert",
            gives=_of_all_experts,
        ),
        Mistake(
            "the-dropped",
            "True is to say that a token is kept; here it says that it is dropped.",
            _capacity_cell(*_PLACE, "return place > capacity"),
            says="has True where a token is dropped",
            gives=_kept(lambda wishes, number: _before(wishes, number) >= _CAPACITY),
        ),
        Mistake(
            "last-ones",
            "The last tokens of each expert were kept. It is the first ones that are.",
            _capacity_cell(
                _PLACE[0],
                "place = one_hot.flip(0).cumsum(dim=0).flip(0)",
                "return place.gather(1, choice[:, None]).squeeze(1) <= capacity",
            ),
            says="keeps the last tokens of each expert",
            gives=_kept(lambda wishes, number: wishes[number:].count(wishes[number]) <= _CAPACITY),
        ),
        Mistake(
            "by-expert",
            "The answer stands in the order of the experts, and is to stand in that of the tokens. "
            "Do not sort, or put it back: kept[order] = ….",
            _capacity_cell(
                "ordered = choice.sort(stable=True).values",
                "place = torch.arange(len(choice)) - torch.searchsorted(ordered, ordered)",
                "return place < capacity",
            ),
            says="has the order of the experts",
            gives=_in_the_order_of_experts,
        ),
        Mistake(
            "expert-numbers",
            "choice has the numbers of experts, and a number of an expert is no count. Count, for "
            "each token, those before it that want the same expert.",
            _capacity_cell("return choice < capacity"),
            says="keeps the tokens of the first experts",
            gives=_kept(lambda wishes, number: wishes[number] < _CAPACITY),
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
