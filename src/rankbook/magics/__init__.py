"""The magics.

``commands`` holds them: each parses its line, delegates to the session, and shows what it says;
``running`` does so for cells. ``mode`` sends plain cells to the ranks, ``syntax`` finds errors
before a cell is sent, ``usage`` makes one line of a person's mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook.magics.commands import RankMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["RankMagics", "load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics."""
    magics = RankMagics(shell)
    shell.register_magics(magics)
    magics.mode.attach(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics; a session that runs is left alone."""
    magics = shell.magics_manager.registry.pop(RankMagics.__name__, None)
    if magics is None:
        return
    magics.mode.detach(shell)
    for kind, names in magics.magics.items():
        for name in names:
            shell.magics_manager.magics[kind].pop(name, None)
