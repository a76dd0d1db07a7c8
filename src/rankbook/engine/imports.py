"""Patching a module as soon as it is imported, or at once if it already is."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["when_imported"]

_Act = Callable[[ModuleType], None]


class _Finder(importlib.abc.MetaPathFinder):
    """Finds, through the other finders, the modules with actions."""

    def __init__(self) -> None:
        self.acts: dict[str, list[_Act]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.acts:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                for act in self.acts[fullname]:
                    act(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_finder = _Finder()


def when_imported(name: str, act: _Act) -> None:
    """Call ``act`` with a module after its code has run, at once if it already has.

    Args:
        name: The full name of the module, which need not exist.
        act: The action.
    """
    if name in sys.modules:
        act(sys.modules[name])
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.acts.setdefault(name, []).append(act)
