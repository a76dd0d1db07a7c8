"""What ranks give and get in this lesson, and what is not all-reduce by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook.teach.definitions import Mistake, Target

if TYPE_CHECKING:
    from rankbook.teach.here import Here

__all__ = ["BYTES", "BY_HAND", "NUMBERS", "full", "given", "not_by_hand", "total"]


NUMBERS = 8
BYTES = 4 * NUMBERS


def given(here: Here) -> Any:
    """What a rank gives."""
    return here.torch.full((NUMBERS,), 10.0**here.rank)


def full(here: Here, value: float) -> Any:
    """A tensor of one value, as long as what ranks give."""
    return here.torch.full((NUMBERS,), float(value))


def total(here: Here) -> Any:
    """The sum of what all ranks give."""
    return full(here, sum(10**rank for rank in range(here.world_size)))


BY_HAND = Target("by-hand", "collectives", "collectives", most=0, tells=False)


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
