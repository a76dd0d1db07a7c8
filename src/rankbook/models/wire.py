"""Models to JSON's types and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

__all__ = ["load", "to_dict"]

_T = TypeVar("_T")


def to_dict(value: Any) -> dict[str, Any]:
    """Turn a model, and the models in it, into plain dicts and lists."""
    return dataclasses.asdict(value)


def load(cls: type[_T], data: Mapping[str, Any]) -> _T:
    """Make a ``cls`` from what :func:`to_dict` gave, also after a trip through JSON.

    Fields that this version does not know are left out, so that a session can join engines of
    a newer one.

    Raises:
        TypeError: A field without a default is missing.
    """
    hints = _hints(cls)  # type: ignore[arg-type]
    return cls(**{name: _load(hints[name], its) for name, its in data.items() if name in hints})


@cache
def _hints(cls: type) -> dict[str, Any]:
    """By field, its type."""
    types_of = typing.get_type_hints(cls)
    return {field.name: types_of[field.name] for field in dataclasses.fields(cls)}


def _load(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if value is not None and origin in (typing.Union, types.UnionType):
        # A field is a model or None, never one of several models.
        hint = next(its for its in args if its is not types.NoneType)
        return _load(hint, value)
    if value is not None and dataclasses.is_dataclass(hint):
        return load(typing.cast("type[Any]", hint), value)
    if isinstance(value, (list, tuple)):
        each = args if args and args[-1] is not Ellipsis else (args[:1] or (Any,)) * len(value)
        return tuple(_load(its, one) for its, one in zip(each, value, strict=True))
    if isinstance(value, dict) and origin is Mapping:
        key, its = args  # JSON's keys are texts
        return {(key(name) if key is int else name): _load(its, one) for name, one in value.items()}
    return value
