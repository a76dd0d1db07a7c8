"""What a script has left that holds a process group of the script's: it cannot go on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rankbook.distributed.healing import compiled, connections, sharded, stale, wrappers

__all__ = ["end"]


def end(groups: Sequence[Any], origin: str) -> None:
    """Have groups that torch has forgotten, and what holds them, say so when they are used.

    Args:
        groups: Those that a script has made and something still refers to.
        origin: Where they were made, in words.
    """
    names = {group: _name(group) for group in groups}
    connections.separate(groups)
    if not names:
        return
    found = wrappers.find(names)
    # What follows the default group follows the session's from now on.
    ended = found.less(found.where(lambda _kind, group: group is None))
    stale.refuse(ended, names, origin)
    if sharded.refuse(origin, [module for _, module in ended.fsdp]) or ended.kinds:
        compiled.forget()


def _name(group: Any) -> str:
    with suppress(RuntimeError):  # one that the script has separated has none
        return str(group.group_name)
    return ""
