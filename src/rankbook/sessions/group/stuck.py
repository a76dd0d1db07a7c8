"""Says which ranks went on after an interrupt, and where they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rankbook.errors import StuckError
from rankbook.models import Look
from rankbook.sessions.members.freeing import Freed, data_moves
from rankbook.timing import Timing
from rankbook.words import how_to_replace, in_words

__all__ = ["at_place", "error", "of"]


def of(freed: Freed, answered: Collection[int] = ()) -> dict[int, Look | None]:
    """By rank that was not freed, what it does; None if it does not answer.

    Args:
        freed: The outcome of freeing.
        answered: Ranks that reported the end of their cell at the last moment.
    """
    return {rank: freed.looks.get(rank) for rank in sorted(freed.busy - set(answered))}


def error(
    stuck: Mapping[int, Look | None], timing: Timing, lets_go_after: float | None = None
) -> StuckError:
    """The error for them.

    Args:
        stuck: By rank, what it does; None if it does not answer.
        timing: The timing of the session.
        lets_go_after: Minutes after which gloo gives up on cut connections; None: none was cut,
            or gloo waits far longer.
    """
    places: dict[str, list[int]] = {}
    for rank, look in sorted(stuck.items()):
        place = f"{look.line or look.state}{_until(look, timing, lets_go_after)}" if look else ""
        places.setdefault(place, []).append(rank)
    where = "; ".join(at_place(ranks, place) for place, ranks in places.items())
    return StuckError(
        f"The interrupt did not end the cell: {where}. Interrupt again, or "
        f"{how_to_replace(stuck)} replaces {in_words(stuck)} and keeps the others."
    )


def at_place(ranks: Sequence[int], place: str) -> str:
    """``ranks 0-2 are at line 3: f(x)``; ``ranks 0-2 do not answer`` without a place."""
    be, do = ("is", "does") if len(ranks) == 1 else ("are", "do")
    return f"{in_words(ranks)} {f'{be} at {place}' if place else f'{do} not answer'}"


def _until(look: Look, timing: Timing, lets_go_after: float | None) -> str:
    """When a stuck rank will let go by itself, in brackets; empty if unknown."""
    if data_moves(look, timing):
        return " (data is on its way: it ends when that has come)"
    if look.waiting and lets_go_after is not None:
        # Nothing wakes a gloo thread that waits for the rest of a message.
        return f" (it lets go after the group's timeout, {lets_go_after:g} min)"
    return ""
