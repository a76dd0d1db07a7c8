"""Objects that a script left with one of its process groups: they cannot go on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from rankbook.distributed.healing import compiled, connections, sharded, stale, wrappers

__all__ = ["end"]


def end(groups: Sequence[Any], origin: str) -> None:
    """Make groups that torch has forgotten, and objects that hold them, say so when used.

    Args:
        groups: Groups that a script made and something still refers to.
        origin: Where they were made, in words.
    """
    names = {group: _name(group) for group in groups}
    connections.separate(groups)
    if not names:
        return
    found = wrappers.find(names)
    # Objects that follow the default group follow the session's from now on.
    ended = found.less(found.where(lambda _kind, group: group is None))
    stale.refuse(ended, names, origin)
    if sharded.refuse(origin, [module for _, module in ended.fsdp]) or ended.kinds:
        compiled.forget()


def _name(group: Any) -> str:
    with suppress(RuntimeError):  # a group that the script separated has none
        return str(group.group_name)
    return ""
