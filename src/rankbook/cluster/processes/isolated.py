"""Starting our own Python processes that import nothing from the folder in which they start.

``python -m`` looks there first, so a user's file that is named like a standard module would
be imported in its place.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["command"]

_START = (
    "import sys; sys.path[:] = [*filter(None, sys.path), {root!r}]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def command(module: str) -> list[str]:
    """The command line that runs a module of this package, wherever it is installed."""
    root = str(Path(__file__).parents[3])
    return [sys.executable, "-c", _START.format(root=root), module]
