"""Undoing what a script has replaced in libraries, and what it has hooked into the interpreter.

Scripts wrap ``torch.load`` or the ``forward`` of a class of a library. Under a launcher that ends
with the process. In a rank the next run would wrap the wrapper, and a replacement that was deleted
from the script would stay.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

from rankbook.engine.cells import modules

__all__ = ["put_back"]

_HOOKS: list[list[Any]] = [sys.meta_path, sys.path_hooks, gc.callbacks]
"""Lists of the interpreter to which scripts add their own."""


_MAIN = ("__main__", "__mp_main__")

# As type has them: a class of a class may refuse, or answer something else.
_names_of, _bases_of, _module_of = (
    vars(type)[name].__get__ for name in ("__dict__", "__mro__", "__module__")
)


@dataclass(frozen=True)
class _Owner:
    """A module or a class, and what can be called in it."""

    it: Any
    names: dict[str, Any]
    count: int
    """The number of all its names."""

    @classmethod
    def of(cls, it: Any) -> _Owner:
        every = _names(it)
        names = {n: one for n, one in every.items() if callable(one) or type(one) is property}
        return cls(it, names, len(every))

    def restore(self, is_own: Callable[[Any, Any], bool]) -> None:
        present = _names(self.it)
        if not self.is_as_before(present):
            for name, value in self.names.items():
                other = present.get(name, value)
                if other is not value and is_own(other, value):
                    with suppress(Exception):  # a class may refuse
                        setattr(self.it, name, value)
        if len(present) > self.count and _is_class(self.it):
            above = {name for base in _bases_of(self.it)[1:] for name in _names(base)}
            for name in present.keys() & above:
                if name not in self.names and is_own(present[name], None):
                    with suppress(Exception):
                        delattr(self.it, name)

    def is_as_before(self, present: Mapping[str, Any]) -> bool:
        """Whether nothing was replaced in it, given its present names."""
        try:
            return self.names.items() <= present.items()  # fast: most are the same objects
        except Exception:  # noqa: BLE001 - they are not, and cannot be compared
            return False


_known: dict[int, _Owner] = {}
"""What there was, by its id, when the latest script began."""


@contextmanager
def put_back(folder: str) -> Iterator[None]:
    """Restore, at the end of the block, what a script has replaced.

    Only what the script's own functions and classes have replaced: what a library replaces when it
    is imported stays, as the library does.

    Args:
        folder: The script's.
    """
    _take_note()
    absent = _absent()
    hooks = [(each, {*map(id, each)}) for each in _HOOKS]
    try:
        yield
    finally:
        is_own = functools.partial(_is_own, {"__main__", *modules.own(folder)})
        for owner in _known.values():
            owner.restore(is_own)
        for each, known in hooks:
            each[:] = [one for one in each if id(one) in known or not is_own(one, None)]
        for name in _absent() - absent:
            del sys.modules[name]


def _take_note() -> None:
    """Take note of new modules, of the classes in them, and of what cells have replaced."""
    for number, owner in _known.items():
        present = _names(owner.it)
        if len(present) != owner.count or not owner.is_as_before(present):
            _known[number] = _Owner.of(owner.it)
    loaded = {id(one): one for one in sys.modules.copy().values() if type(one) is ModuleType}
    for number in [number for number, owner in _known.items() if type(owner.it) is ModuleType]:
        if number not in loaded:  # it was imported again
            del _known[number]
    for number, module in loaded.items():
        if number in _known or module.__name__ in _MAIN:
            continue
        _known[number] = found = _Owner.of(module)
        for value in found.names.values():
            if _is_class(value) and id(value) not in _known:
                _known[id(value)] = _Owner.of(value)


def _absent() -> set[str]:
    """The modules whose import is forbidden."""
    every: dict[str, Any] = sys.modules.copy()
    return {name for name, module in every.items() if module is None}


def _names(it: Any) -> Mapping[str, Any]:
    """What is in a module or a class."""
    return vars(it) if type(it) is ModuleType else _names_of(it)


def _is_class(value: Any) -> bool:
    return issubclass(type(value), type)  # isinstance asks a value, which may load something


def _is_own(own: set[str], value: Any, former: Any) -> bool:
    """Whether code of the script has made a value.

    Args:
        own: The names of the script's modules.
        value: Any object.
        former: What stood in its place; None: nothing.
    """
    kind = type(value)
    if kind is FunctionType:  # not __module__, which functools.wraps copies from what is wrapped
        return value.__globals__.get("__name__") in own
    if kind is MethodType:
        return _is_own(own, value.__func__, former)
    if kind in (staticmethod, classmethod):
        return _is_own(own, value.__func__, former)
    if kind is property:
        return any(_is_own(own, each, former) for each in (value.fget, value.fset) if each)
    if kind is functools.partial:
        return value.func is former or _is_own(own, value.func, former)
    return _module_of(value if _is_class(value) else kind) in own
