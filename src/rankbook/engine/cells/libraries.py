"""Modules and classes of libraries, and what was in them when the latest script began."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

from rankbook.heap import uncollected

__all__ = ["Owner", "is_own", "known", "take_note", "take_note_of_new"]

_MAIN = ("__main__", "__mp_main__")

_OURS = __name__.partition(".")[0]

_TABLES = (dict, list)

_WITHOUT_TABLES = {
    *(str, int, float, bool, type(None), tuple, bytes, type),
    *(FunctionType, BuiltinFunctionType, ModuleType, staticmethod, classmethod, property),
    *(WrapperDescriptorType, MethodDescriptorType, GetSetDescriptorType, MemberDescriptorType),
}

# As type has them: a class of a class may refuse, or answer something else.
_names_of, _bases_of, _module_of = (
    vars(type)[name].__get__ for name in ("__dict__", "__mro__", "__module__")
)


@dataclass(frozen=True)
class Owner:
    """A module or a class, and what can be called in it."""

    it: Any
    present: Mapping[str, Any]
    """What is in it now."""
    values: list[Any]
    """What was in it, in its order."""
    names: dict[str, Any]
    """What of that can be called."""
    dicts: Collection[dict[Any, Any]]
    lists: Collection[list[Any]]
    """The dictionaries and lists in it, where others may register what is theirs."""

    @classmethod
    def of(cls, it: Any) -> Owner:
        """Note what is in a module or a class."""
        present = _names(it)
        values = [*present.values()]
        names = {n: one for n, one in present.items() if callable(one) or type(one) is property}
        is_module = type(it) is ModuleType
        home = present.get("__name__" if is_module else "__module__")
        is_ours = isinstance(home, str) and home.partition(".")[0] == _OURS
        tables = [] if is_ours else _tables(values, with_objects=is_module)
        if not tables:  # as in most
            return cls(it, present, values, names, (), ())
        dicts, lists = ([one for one in tables if issubclass(type(one), each)] for each in _TABLES)
        return cls(it, present, values, names, dicts, lists)

    def restore(self, is_own: Callable[[Any, Any], bool]) -> None:
        """Put back what a script has replaced.

        Args:
            is_own: Whether the script has made what is there now, given also what was there.
        """
        if self.is_untouched():
            return
        present = self.present
        if not self.is_as_before():
            for name, value in self.names.items():
                other = present.get(name, value)
                if other is not value and is_own(other, value):
                    with suppress(Exception):  # a class may refuse
                        setattr(self.it, name, value)
        if len(present) > len(self.values) and _is_class(self.it):
            above = {name for base in _bases_of(self.it)[1:] for name in _names(base)}
            for name in present.keys() & above:
                if name not in self.names and is_own(present[name], None):
                    with suppress(Exception):  # a class may refuse
                        delattr(self.it, name)

    def find_back(self, is_own: Callable[[Any, Any], bool]) -> None:
        """Put back what a script has wrapped that has imported it: the wrapper has the original.

        Args:
            is_own: Whether the script has made a value.
        """
        home, above = self.present.get("__name__"), ""
        if type(self.it) is not ModuleType:
            home = self.present.get("__module__")
            above = f"{vars(type)['__qualname__'].__get__(self.it)}."
        for name, value in self.names.items():
            if type(value) is not FunctionType or not is_own(value, None):
                continue
            for one in (*value.__globals__.values(), *map(_content, value.__closure__ or ())):
                is_former = type(one) is FunctionType and one.__module__ == home
                if is_former and one.__qualname__ == f"{above}{name}" and not is_own(one, None):
                    with suppress(Exception):  # a class may refuse
                        setattr(self.it, name, one)
                    break

    def added(self) -> dict[str, str]:
        """The texts that are new in it, by name."""
        known = {*map(id, self.values)}
        every = self.present.items()
        return {name: one for name, one in every if type(one) is str and id(one) not in known}

    def is_untouched(self) -> bool:
        """Whether the same objects are in it; False where that is open."""
        try:
            # Fast: two lists are the same where each has the objects of the other.
            return self.values == [*self.present.values()]
        except Exception:  # noqa: BLE001 - they are not the same, and cannot be compared
            return False

    def is_as_before(self) -> bool:
        """Whether nothing was replaced in it."""
        try:
            return self.names.items() <= self.present.items()
        except Exception:  # noqa: BLE001 - they are not, and cannot be compared
            return False


known: dict[int, Owner] = {}
"""What there was, by its id, when the latest script began."""


def take_note() -> None:
    """Take note of new modules, of the classes in them, and of what cells have replaced."""
    with uncollected():  # it makes many objects, and no garbage
        _take_note()


def _take_note() -> None:
    for number, owner in known.items():
        if not owner.is_untouched():
            known[number] = Owner.of(owner.it)
    loaded = {id(one) for one in sys.modules.copy().values() if type(one) is ModuleType}
    for number in [number for number, owner in known.items() if type(owner.it) is ModuleType]:
        if number not in loaded:  # it was imported again
            del known[number]
    take_note_of_new(_MAIN)


def take_note_of_new(others: Collection[str]) -> list[Owner]:
    """Take note of new modules, and of the classes in them.

    Args:
        others: The names of modules that do not count.

    Returns:
        What is new.
    """
    new = list[Owner]()
    for module in sys.modules.copy().values():
        if type(module) is not ModuleType or id(module) in known or module.__name__ in others:
            continue
        found = Owner.of(module)
        classes = [one for one in found.names.values() if _is_class(one) and id(one) not in known]
        for owner in (found, *map(Owner.of, classes)):
            known[id(owner.it)] = owner
            new.append(owner)
    return new


def _names(it: Any) -> Mapping[str, Any]:
    """What is in a module or a class."""
    return vars(it) if type(it) is ModuleType else _names_of(it)


def _tables(values: list[Any], *, with_objects: bool) -> list[Any]:
    """The dictionaries and lists among values.

    Args:
        values: Any.
        with_objects: Those that are attributes of objects among the values, too.
    """
    found = list[Any]()
    for value in values:
        kind = type(value)
        if kind in _WITHOUT_TABLES or issubclass(kind, type):
            continue
        if issubclass(kind, _TABLES):
            found.append(value)
        if with_objects and kind not in _TABLES and not issubclass(kind, ModuleType):
            attributes: Any = None
            with suppress(Exception):  # not every object has a dictionary
                attributes = object.__getattribute__(value, "__dict__")
            if type(attributes) is dict:
                found += _tables([*attributes.values()], with_objects=False)
    return found


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _is_class(value: Any) -> bool:
    return issubclass(type(value), type)  # isinstance asks a value, which may load something


def is_own(own: set[str], value: Any, former: Any) -> bool:
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
        return is_own(own, value.__func__, former)
    if kind in (staticmethod, classmethod):
        return is_own(own, value.__func__, former)
    if kind is property:
        return any(is_own(own, each, former) for each in (value.fget, value.fset) if each)
    if kind is functools.partial:
        return value.func is former or is_own(own, value.func, former)
    return _module_of(value if _is_class(value) else kind) in own
