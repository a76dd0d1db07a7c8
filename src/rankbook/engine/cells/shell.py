"""Preparing an engine's IPython shell for a rank."""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from typing import Any, NoReturn

from rankbook.cellnames import in_text
from rankbook.engine.cells import system
from rankbook.models import to_dict
from rankbook.models.events import HELD

__all__ = ["prepare"]

_DRAWN = (
    ("torch.distributed.tensor", "DTensor"),
    ("torch.distributed.device_mesh", "DeviceMesh"),
)
"""Modules and class names; importing these modules takes a second, and is mostly unneeded."""


class _Exit(partial[NoReturn]):
    """``exit`` on a rank: an error like any other, because the engine must live on.

    A partial of ``sys.exit`` adds no frame of ours to the traceback.
    """

    def __repr__(self) -> str:
        return "exit() raises SystemExit; %dist_shutdown stops the engines"


def prepare(shell: Any) -> None:
    """Make a shell survive ``exit``."""

    def _system(command: str) -> None:
        shell.user_ns["_exit_code"] = system.run(shell.var_expand(command, depth=1))

    shell.system = _system
    formatter = shell.display_formatter.mimebundle_formatter
    for module, name in _DRAWN:
        formatter.for_type_by_name(module, name, _drawn)
    shell.set_hook("show_in_pager", _print_page, 0)
    shell.set_next_input = _print_input
    shell.user_ns["exit"] = shell.user_ns["quit"] = _Exit(sys.exit)
    # IPython has set these; libraries check them to detect an interactive session.
    for name in ("ps1", "ps2", "ps3"):
        vars(sys).pop(name, None)
    # Otherwise a child writes to a file only when its buffer is full, or at its end.
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    # IPython's advice after sys.exit() is for a terminal; the exception itself is shown.
    warnings.filterwarnings("ignore", message="To exit: use 'exit'")


def _print_input(text: str, replace: bool = False) -> None:  # noqa: FBT001, FBT002 - as IPython's
    """Show what IPython would put into a cell: ``%load``, ``%recall``."""
    del replace
    sys.stdout.write(f"{text.rstrip()}\n")


def _drawn(value: Any) -> dict[str, Any]:
    """Describe a value of a cell so that it can be drawn."""
    from rankbook.engine.values.showing import held

    return {HELD: to_dict(held(value))}


def _print_page(_shell: Any, page: Any, *_args: Any, **_options: Any) -> None:
    """Show what IPython would show in a pager: ``x?``, ``%%prun``."""
    text = page.get("text/plain", "") if isinstance(page, dict) else str(page)
    sys.stdout.write(f"{in_text(text)}\n")
