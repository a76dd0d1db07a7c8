"""Importing packages without parts of them that a process does not use, and that take long."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["absent", "import_ipyparallel", "leave_out"]


def import_ipyparallel() -> None:
    """Import ipyparallel without what starts clusters.

    That takes as long as all the rest (in ipyparallel 8 and 9), and only notebooks use it.
    """
    leave_out("ipyparallel", "cluster", ("Cluster", "ClusterManager"))


def leave_out(package: str, module: str, names: tuple[str, ...]) -> None:
    """Import a package without one of its modules; that is imported when it is asked for.

    Nothing is done where the package is imported already.

    Args:
        package: The name of the package.
        module: The module's name in it.
        names: What the package takes from the module.
    """
    if package in sys.modules:
        return
    full = f"{package}.{module}"
    stand_in = ModuleType(full)
    vars(stand_in).update(dict.fromkeys(names))
    sys.modules[full] = stand_in
    found = import_module(package)
    del sys.modules[full]
    for name in (module, *names):
        vars(found).pop(name, None)

    def ask(name: str) -> Any:
        if name not in (module, *names):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        asked = import_module(full)
        return asked if name == module else getattr(asked, name)

    vars(found)["__getattr__"] = ask


@contextmanager
def absent(module: str) -> Iterator[None]:
    """Let the import of a module fail, as if it were not installed, unless it is there already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
