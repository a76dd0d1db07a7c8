"""Forgetting what a script has registered in libraries, before the next one begins.

Libraries refuse a second entry of the same name: torch a compiler or a rendezvous, OmegaConf a
resolver, others a model. Until then cells may use what is registered.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import chain
from types import FunctionType, MethodType
from typing import Any

from rankbook.engine.cells import libraries

__all__ = ["Registries", "forget"]

_Entry = tuple[Any, type, Any, Any]
"""In what it is, whether that is a dictionary, list or class, under which key, and what."""

_left: list[_Entry] = []
"""What the last script has registered."""

_DEFINED = (FunctionType, MethodType, staticmethod, classmethod, partial)


class Registries:
    """The tables of libraries, with the sizes that they have now."""

    def __init__(self) -> None:
        every = libraries.known.values()
        self._owners = [owner for owner in every if owner.dicts or owner.lists]
        self._before = self._sizes()

    def remember(self, own: set[str], new: list[libraries.Owner]) -> None:
        """Remember what a script has registered since.

        Args:
            own: The names of its modules.
            new: What it has imported, which had nothing of it before.
        """
        cells = vars(sys.modules["__main__"])

        def is_own(value: Any) -> bool:
            return libraries.is_own(own, value, None) and not _is_of(cells, value)

        sizes, numbers = self._sizes(), iter(self._before)
        if sizes != self._before:
            for owner in self._owners:
                before = [next(numbers) for _ in chain(owner.dicts, owner.lists)]
                _left.extend(_registered(owner, before, is_own))
        for owner in new:
            _left.extend(_registered(owner, [0] * len([*owner.dicts, *owner.lists]), is_own))

    def _sizes(self) -> list[int]:
        sizes = list[int]()
        for owner in self._owners:  # asked of their bases: some load everything to know it
            sizes += map(dict.__len__, owner.dicts)
            sizes += map(list.__len__, owner.lists)
        return sizes


def _registered(
    owner: libraries.Owner, before: list[int], is_own: Callable[[Any], bool]
) -> list[_Entry]:
    """What a script has registered in a module or class of a library.

    Args:
        owner: The module or class.
        before: The former sizes of its dictionaries and lists.
        is_own: Whether the script has made a value.
    """
    sizes, new = iter(before), list[_Entry]()
    for table in owner.dicts:
        if (more := dict.__len__(table) - next(sizes)) > 0:
            new += [(table, dict, *entry) for entry in [*dict.items(table)][-more:]]
    for entries in owner.lists:  # which may have been sorted since
        if list.__len__(entries) > next(sizes):
            new += [(entries, list, None, one) for one in list.__iter__(entries)]
    own = [one for one in new if any(_has_defined(is_own, each) for each in one[2:])]
    # Libraries may note a name in several tables, or as an attribute, and look it up in any.
    names = {key.casefold() for _, _, key, _ in own if isinstance(key, str)}
    if names:
        new += [(owner.it, type, name, value) for name, value in owner.added().items()]
        for one in new:
            name = one[3] if one[1] is list else one[2]
            if isinstance(name, str) and name.casefold() in names:
                own.append(one)
    return own


def forget() -> None:
    """Forget what the last script has registered."""
    while _left:
        table, base, key, value = _left.pop()
        with suppress(Exception):  # a library's own class may refuse
            if base is list:
                table[:] = [one for one in list.__iter__(table) if one is not value]
            elif base is type:
                delattr(table, key)
            elif dict.get(table, key) is value:
                (OrderedDict if isinstance(table, OrderedDict) else dict).pop(table, key)


def _is_of(namespace: dict[str, Any], value: Any) -> bool:
    """Whether cells have defined a function or class."""
    if type(value) is FunctionType:
        return value.__globals__ is namespace
    with suppress(Exception):  # a class of classes may refuse
        return namespace.get(value.__name__) is value
    return False


def _has_defined(is_own: Callable[[Any], bool], value: Any) -> bool:
    """Whether it is a function or class of the script, or a library's wrapper around one."""
    kind = type(value)
    if issubclass(kind, tuple):
        return any(_has_defined(is_own, one) for one in tuple.__iter__(value))
    if kind is FunctionType and value.__closure__:
        for cell in value.__closure__:
            with suppress(ValueError):  # it is empty
                inner = cell.cell_contents
                if _is_definition(type(inner)) and is_own(inner):
                    return True
    return _is_definition(kind) and is_own(value)


def _is_definition(kind: type) -> bool:
    return issubclass(kind, type) or kind in _DEFINED
