"""What ranks give and get in this lesson, and what is not all-reduce by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Mistake, Target

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = [
    "BYTES",
    "BY_HAND",
    "NUMBERS",
    "at_least",
    "given",
    "not_by_hand",
    "scaled",
    "told_nobody",
    "total",
]


NUMBERS = 8
BYTES = 4 * NUMBERS


def given(here: Here) -> Any:
    """What a rank gives.

    The learner's cells give the same number in every place. Here each chunk has another one, so
    that a chunk in a wrong place is seen.
    """
    return scaled(here, 10.0**here.rank)


def scaled(here: Here, value: float) -> Any:
    """A tensor as long as what ranks give: a value in the first chunk, twice that in the next."""
    factors = here.torch.arange(1.0, here.world_size + 1)
    return value * factors.repeat_interleave(NUMBERS // here.world_size)


def total(here: Here) -> Any:
    """The sum of what all ranks give."""
    return scaled(here, sum(10**rank for rank in range(here.world_size)))


BY_HAND = Target("by-hand", "collectives", "collectives", most=0, tells=False)


def at_least(calls: int) -> Target:
    """The target of who does not do without sends and receives."""
    return Target("talks", "calls", "calls", most=float("inf"), least=calls, tells=False)


def not_by_hand(example: str) -> Mistake:
    """The mistake of using a torch collective.

    Args:
        example: A cell that makes it.
    """
    return Mistake(
        "not-by-hand",
        "The result is right, but one of torch's collectives has made it, and this lesson takes "
        "those apart. Use sends and receives alone.",
        example,
        seen=lambda seen: "by-hand" in seen.missed,
    )


def told_nobody(name: str) -> Mistake:
    """The mistake of working the sum out from what is known of the other ranks' numbers.

    Args:
        name: Of the function.
    """
    return Mistake(
        "told-nobody",
        "The result is right, but no rank has sent anything: it is worked out from the trick with "
        "the digits. In a training step a rank knows its own numbers only.",
        f"%%dist\ndef {name}(x):\n    return x / 10**rank * 1111\n",
        seen=lambda seen: seen.missed == {"talks"},
    )
