"""``%run`` in a cell on this rank: a script inside the cell, with the cell's process group."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankbook.engine.group.group import Group

__all__ = ["install"]


def install(shell: Any, group: Group) -> None:
    """Keep scripts that ``%run`` runs from changing the session's group.

    Args:
        shell: This rank's shell.
        group: Its place in the process group.
    """
    magic = shell.find_line_magic("run")

    @functools.wraps(magic)
    def run(*args: Any, **options: Any) -> Any:
        with group.hosting():
            return magic(*args, **options)

    shell.register_magic_function(run, "line", "run")
