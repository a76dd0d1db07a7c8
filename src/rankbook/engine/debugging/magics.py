"""IPython's debugging magics on a rank: ``%debug``, ``%%debug``, ``%pdb``."""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError

from rankbook.engine.debugging.stops import Stops

__all__ = ["register"]


def register(shell: Any, stops: Stops) -> None:
    """Replace magics that would open a debugger in a terminal.

    Args:
        shell: The rank's IPython.
        stops: Opens the prompt.
    """

    def debug(line: str, cell: str | None = None) -> None:
        if line.startswith("-"):
            raise UsageError("On a rank, %debug takes a statement, or nothing: b sets breakpoints.")
        text = line if cell is None else cell
        if text.strip():
            # Compiled as IPython's magics do, so that it keeps its place in the cell.
            code = shell.compile(shell.transform_cell(text), "<debug>", "exec")
            stops.run(code, shell.user_ns)
        else:
            stops.look_back_at_last()

    def pdb(line: str) -> None:
        words = {"on": True, "1": True, "off": False, "0": False, "": not stops.at_failures}
        if (wanted := words.get(line.strip().lower())) is None:
            raise UsageError("Use %pdb on, %pdb off, or %pdb to change it.")
        stops.at_failures = wanted
        print(f"A cell that fails {'opens' if wanted else 'no longer opens'} the debugger.")

    shell.register_magic_function(debug, "line_cell", "debug")
    shell.register_magic_function(pdb, "line", "pdb")
