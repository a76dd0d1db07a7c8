"""A name that a plain cell lacks, and that ranks have: what to type instead."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rankbook.words import in_words

if TYPE_CHECKING:
    from rankbook.sessions.members.party import Party

__all__ = ["lacking", "tell"]


def lacking(result: Any) -> str:
    """The name that a cell lacked; empty if it ended otherwise.

    Args:
        result: What IPython says of a cell.
    """
    error = result.error_in_exec
    is_silent = result.info is not None and result.info.silent
    return (error.name or "") if isinstance(error, NameError) and not is_silent else ""


def tell(name: str, party: Party, world_size: int) -> None:
    """Say which ranks have a name, below the traceback; nothing if none does.

    Args:
        name: The name.
        party: The ranks that live.
        world_size: How many ranks there are.
    """
    from rankbook.sessions.members.inspecting import inspect

    having = [rank for rank, found in inspect(party, name).items() if found.is_found]
    if not having:
        return
    on = "" if len(having) == world_size else f"-r {','.join(map(str, having))} "
    print(
        f"{name} is on {in_words(having)}, not in the notebook itself: %dist {on}{name} shows it "
        f"there, %dist_pull {on}{name} brings it here.",
        file=sys.stderr,
    )
