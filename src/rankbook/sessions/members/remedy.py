"""What to run when ranks have ended: what replaces them there, or goes on without them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from rankbook.words import agree, how_to_replace, plural

if TYPE_CHECKING:
    from rankbook.sessions.members.members import Members

__all__ = ["remedy"]


def remedy(members: Members, dead: Collection[int], does: str) -> str:
    """What to run, as a sentence that can follow a colon.

    Args:
        members: The session's ranks.
        dead: Those that have ended.
        does: What replacing them does: ``brings it back``.
    """
    if members.instead:
        return members.instead
    missing = len(dead) - len(members.alive_spares)
    replaces = f"{how_to_replace(dead)} {does}."
    if members.can_grow or missing <= 0:
        return replaces
    first = f"start {plural(missing, 'engine')} where the others were started, then {replaces}"
    rest = len(members.seated()) - len(dead)
    if not rest:
        return first
    return f"%dist_init -n {rest} goes on without {agree(dead, 'it', 'them')}; or {first}"
