"""Process groups in definitions: attributes of classes, default values, names of modules.

A new rank runs definitions and imports of earlier cells, and with them the calls that they contain.
There ``new_group`` would wait for ranks that do not call it. So it gives a stand-in, which is then
replaced by this rank's counterpart of the group that others have in that place.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch.distributed as dist

from rankbook.errors import StaleGroupError

__all__ = ["StandIn", "find", "put", "standing_in"]

_c10d: Any = import_module("torch.distributed.distributed_c10d")

_GROUP = dist.ProcessGroup

_OTHERS = ("__main__.", "torch.", "rankbook.")
"""Modules without groups of the user, apart from the cells'."""


class StandIn:
    """Takes the place of a group that a definition would make; no use of it goes unnoticed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise _refusal()

    def __eq__(self, other: object) -> bool:
        raise _refusal()

    def __hash__(self) -> int:
        raise _refusal()


def _refusal() -> StaleGroupError:
    return StaleGroupError(
        "this process group was made by a definition or an import, which ran again on this "
        "replaced rank alone: make it again on all ranks, dist.new_group(...)"
    )


@contextmanager
def standing_in() -> Iterator[None]:
    """Within the block, functions that make groups give stand-ins."""
    make = _c10d._new_group_with_tag
    _c10d._new_group_with_tag = lambda *_args, **_options: StandIn()
    try:
        yield
    finally:
        _c10d._new_group_with_tag = make


def find(namespace: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """By place, the name of the group there.

    Args:
        namespace: Contains the definitions.
        names: Their names.
    """
    known = _c10d._world.pg_names
    held = [(place, value) for place, value, _ in _slots(namespace, names)]
    for name, module in [*sys.modules.items()]:
        if type(module) is types.ModuleType and not f"{name}.".startswith(_OTHERS):
            values = [*vars(module).items()]
            held += [(f"{name}:{key}", one) for key, one in values if type(one) is _GROUP]
    return {place: known[one] for place, one in held if type(one) is _GROUP and one in known}


def put(namespace: Mapping[str, Any], names: Iterable[str], groups: Mapping[str, Any]) -> None:
    """Put groups in their places, where there are such.

    Args:
        namespace: Contains the definitions.
        names: Their names.
        groups: By place.
    """
    for place, _, set_to in [*_slots(namespace, names)]:
        if place in groups:
            set_to(groups[place])
    for place, group in groups.items():
        name, _, key = place.partition(":")
        # Of another rank's: here the module may not be imported.
        if key and name in sys.modules:
            setattr(sys.modules[name], key, group)


_Slot = tuple[str, Any, Callable[[Any], Any]]
"""A place, what is there, and a function that puts something else there."""


def _slots(namespace: Mapping[str, Any], names: Iterable[str]) -> Iterator[_Slot]:
    """The places in definitions."""
    for name in sorted(names):
        yield from _of_definition(name, namespace.get(name))


def _of_definition(place: str, value: Any) -> Iterator[_Slot]:
    cls = type(value)  # isinstance reads an attribute, which may have side effects
    if cls in (classmethod, staticmethod):
        yield from _of_definition(place, value.__func__)
    elif cls is types.FunctionType:
        for number, default in enumerate(value.__defaults__ or ()):
            yield f"{place}({number})", default, partial(_set_default, value, number)
        by_name = value.__kwdefaults__ or {}
        for key, default in [*by_name.items()]:
            yield f"{place}({key})", default, partial(by_name.__setitem__, key)
    elif issubclass(cls, type) and value.__qualname__ == place:
        for key, one in [*vars(value).items()]:
            yield f"{place}.{key}", one, partial(setattr, value, key)
            yield from _of_definition(f"{place}.{key}", one)


def _set_default(function: types.FunctionType, number: int, value: Any) -> None:
    defaults = list(function.__defaults__ or ())
    defaults[number] = value
    function.__defaults__ = tuple(defaults)
