"""Converting models to JSON types and back; the common request and error of all operations."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, TypeVar

__all__ = ["RemoteError", "Request", "load", "to_dict"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Request:
    """The base of all requests of a session to an engine, one class per operation."""

    op: ClassVar[str]
    """Name of the operation."""


@dataclass(frozen=True)
class RemoteError:
    """An exception that ended an operation on an engine."""

    kind: str
    """Its class in :mod:`rankbook.errors`; empty if it is not one of ours."""
    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()

    @staticmethod
    def of_ended(engine: int) -> dict[str, Any]:
        """The reply for an engine that has ended."""
        error = {"kind": "EngineError", "ename": "EngineError"}
        return {"status": "error", "error": error | {"evalue": f"Engine {engine} has ended."}}


def to_dict(value: Any) -> dict[str, Any]:
    """Turn a model, and the models in it, into plain dicts and lists."""
    return {name: _plain(getattr(value, name)) for name in _loaders(value.__class__)}


def load(cls: type[_T], data: Mapping[str, Any]) -> _T:
    """Make a ``cls`` from the result of :func:`to_dict`, even after a trip through JSON.

    Fields that this version does not know are left out, so that a session can join engines of
    a newer one.

    Raises:
        TypeError: A field without a default is missing.
    """
    known = _loaders(cls)  # type: ignore[arg-type]
    fields = {name: value for name, value in data.items() if name in known}
    for name, value in fields.items():
        if (make := known[name]) is not None:
            fields[name] = make(value)
    return cls(**fields)


def _plain(value: Any) -> Any:
    if value is None or type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, (list, tuple)):
        # A NamedTuple stays one: JSON turns it into a row.
        return value if hasattr(value, "_fields") else [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return to_dict(value) if dataclasses.is_dataclass(value) else value


_AS_THEY_ARE = {str, int, float, bool}


_Loader = Callable[[Any], Any] | None
"""Converts a field's value from JSON; None if it is the same in both."""


@cache
def _loaders(cls: type) -> dict[str, _Loader]:
    """The converters of a model's fields, by field."""
    hints = typing.get_type_hints(cls)
    return {field.name: _loader(hints[field.name]) for field in dataclasses.fields(cls)}


def _loader(hint: Any) -> _Loader:
    """The converter from JSON types to a type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # A field is a model or None, never one of several models.
        some = _loader(next(one for one in args if one is not types.NoneType))
        return some and (lambda value: None if value is None else some(value))
    if dataclasses.is_dataclass(hint):
        return partial(load, typing.cast("type[Any]", hint))
    if origin is tuple:
        return _tuple_loader(args)
    if origin is Mapping:
        # JSON's keys are texts.
        key, each = (int if args[0] is int else _same), _loader(args[1]) or _same
        return lambda value: {key(name): each(one) for name, one in value.items()}
    return typing.cast("_Loader", getattr(hint, "_make", None))  # of a NamedTuple


def _tuple_loader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    if args[-1] is Ellipsis:
        each = _loader(args[0])
        return (lambda value: tuple(map(each, value))) if each else tuple
    by_position = [_loader(one) or _same for one in args]
    return lambda value: tuple(f(one) for f, one in zip(by_position, value, strict=True))


def _same(value: Any) -> Any:
    return value
