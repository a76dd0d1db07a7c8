"""The same code as a cell, in a module that a cell calls, and in a script."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import indent

import rankbook as rb

__all__ = ["WAYS", "Placed", "place"]

WAYS = ("cell", "module", "script")

_HEAD = "import torch\nimport torch.distributed as dist\n"
_NAMES = "rank, world_size = dist.get_rank(), dist.get_world_size()\n"
_INITIALISED = 'if not dist.is_initialized():\n    dist.init_process_group("gloo")\n'
_MARK = "# *"

_serial = count(1)


@dataclass(frozen=True)
class Placed:
    """Code where it is run.

    Attributes:
        run: Runs it on the ranks of a session.
        lines: Patterns of how its marked lines are told.
    """

    run: Callable[[rb.Session], rb.CellResult]
    lines: tuple[str, ...]

    def unnamed(self, said: str) -> list[str]:
        """The marked lines that a text does not tell."""
        return [line for line in self.lines if re.search(line, said) is None]


def place(code: str, way: str, folder: Path) -> Placed:
    """Put code into a cell or a file.

    Args:
        code: As a cell has it; lines that are to be named end with ``# *``.
        way: One of ``WAYS``.
        folder: For the files.
    """
    if way == "cell":
        cell = code.strip("\n")
        return Placed(lambda session: session.run(cell), _marked(cell, r"cell \d+ line {}\b"))
    name = f"form_{next(_serial)}"
    path = folder / f"{name}.py"
    pattern = re.escape(path.name) + r":{}\b"
    if way == "module":
        path.write_text(f"{_HEAD}def main(rank, world_size):\n{indent(code, '    ')}")
        call = (
            f"import sys\nsys.path.insert(0, {str(folder)!r})\n"
            f"import {name}\n{name}.main(rank, world_size)"
        )
        return Placed(lambda session: session.run(call), _marked(path.read_text(), pattern))
    path.write_text(_HEAD + _INITIALISED + _NAMES + code)
    return Placed(lambda session: session.run_script(str(path)), _marked(path.read_text(), pattern))


def _marked(text: str, pattern: str) -> tuple[str, ...]:
    lines = enumerate(text.splitlines(), 1)
    return tuple(pattern.format(number) for number, line in lines if line.endswith(_MARK))
