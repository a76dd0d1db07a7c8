"""The magics, in families.

A family is a small class in a module of its own, on the base that all share; the table below is
where IPython, the documentation and the tests find it. ``options`` declares what can be typed
after a magic, ``usage`` turns that into its help and one-line errors. ``running`` runs a cell for a
magic, ``mode`` sends plain cells to the ranks, ``syntax`` finds errors before a cell is sent.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rankbook.magics.base import RankMagics

__all__ = ["families", "load_ipython_extension", "unload_ipython_extension"]

# In the order of the documentation. Imported when needed: ``options`` alone must not import
# IPython.
_FAMILIES = {
    "group": "GroupMagics",
    "cells": "CellMagics",
    "scripts": "RunMagics",
    "looks": "LookMagics",
    "debugging": "DebugMagics",
    "inspecting": "InspectMagics",
    "diffs": "DiffMagics",
    "showing": "ShowMagics",
    "benching": "BenchMagics",
    "environment": "EnvironmentMagics",
    "values": "ValueMagics",
}


def families() -> list[type[RankMagics]]:
    """The classes that hold the magics."""
    return [
        getattr(import_module(f"rankbook.magics.{module}"), name)
        for module, name in _FAMILIES.items()
    ]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics."""
    for family in families():
        magics = family(shell)
        shell.register_magics(magics)
        magics.attach()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Remove the magics; a running session is left alone."""
    manager = shell.magics_manager
    for family in families():
        magics = manager.registry.pop(family.__name__, None)
        if magics is None:
            continue
        magics.detach()
        for kind, names in magics.magics.items():
            for name in names:
                manager.magics[kind].pop(name, None)
