"""The leaves of any value: tensors, numbers, texts, by the path on which they are found."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import pathlib
import re
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch

from rankbook.engine.values.kinds import class_name
from rankbook.engine.values.pieces import Opaque, Parts, made_of, parts_of

__all__ = ["MOST", "Opaque", "leaves", "why_unreadable", "written"]

MOST = 100_000
"""The most leaves of a value."""

_DEEPEST = 100
"""The most levels of nesting."""

_MANY = 100
"""Numbers in a list from which on they are compared as a tensor."""

Note: TypeAlias = Callable[[str, str], None]

_LONG = 10_000
"""The bits of an integer from which on Python writes it only in hexadecimal."""

_SCALARS = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
    torch.layout,
    torch.memory_format,
    bytearray,
    range,
    slice,
    enum.Enum,
    dt.date,
    dt.time,
    dt.timedelta,
    dt.tzinfo,
    types.GenericAlias,
    types.UnionType,
    type(...),
    type(NotImplemented),
    decimal.Decimal,
    fractions.Fraction,
    pathlib.PurePath,
    re.Pattern,
    uuid.UUID,
)
"""Types that are compared by their ``repr``."""


def why_unreadable(error: Exception) -> str:
    """Why a part of a value cannot be read: the exception that a user's class raised."""
    return f"reading it raises {type(error).__name__}: {error}".split("\n")[0]


def written(value: Any) -> str:
    """Write a scalar as ``repr`` does; Python refuses that for enormous integers."""
    if type(value) is int and value.bit_length() > _LONG:
        return hex(value)
    # A user's class may have the same repr for all values.
    base: Any = next(
        (base for base in (int, float, complex, str, bytes) if isinstance(value, base)), None
    )
    is_own = base is None or isinstance(value, (bool, enum.Enum))
    return repr(value) if is_own else base.__repr__(value)


def leaves(value: Any, note: Note = lambda _path, _what: None) -> Iterator[tuple[str, Any]]:
    """Walk through a value.

    Args:
        value: The value.
        note: Told of what the value is made: the path and the class of what has parts, and whether
            a module trains.

    Yields:
        Paths and leaves: tensors, scalars of Python, or :class:`Opaque`. Many numbers in a list
        are one tensor. A cycle is cut where it closes, and what cannot be read is a leaf that says
        why.
    """
    yield from _walk(value, "", {}, note)


def _walk(value: Any, path: str, above: dict[int, str], note: Note) -> Iterator[tuple[str, Any]]:
    # Of its type: a person's class may have a __class__ that raises.
    if issubclass(type(value), _SCALARS):
        yield path, value
    elif id(value) in above:
        yield path, f"(the same as {above[id(value)] or 'the whole'})"
    elif len(above) >= _DEEPEST:
        yield path, Opaque(value, f"it is nested more than {_DEEPEST} levels deep")
    else:
        yield from _inside(value, path, {**above, id(value): path}, note)


def _inside(value: Any, path: str, above: dict[int, str], note: Note) -> Iterator[tuple[str, Any]]:
    try:
        parts, made = parts_of(value), [*made_of(value)]
    except Exception as error:  # noqa: BLE001 - a person's class can raise anything
        yield path, Opaque(value, why_unreadable(error))
        return
    if parts is None:
        is_whole = issubclass(type(value), torch.Tensor)
        yield path, value if is_whole else Opaque(value, f"{_a(value)} cannot be compared")
        return
    for step, what in made:
        note(_joined(path, step), what)
    if (numbers := _numbers(value)) is not None:
        yield path, numbers
        return
    is_empty = True
    for step, part in _read(parts):
        is_empty = False
        if type(part) is Opaque:
            yield path, part
        else:
            yield from _walk(part, _joined(path, step), above, note)
    if is_empty:
        yield path, f"(empty {class_name(value)})"


def _joined(path: str, step: str) -> str:
    return f"{path}{step}" if path else step.lstrip(".")


def _a(value: Any) -> str:
    name = class_name(value)
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def _numbers(value: Any) -> torch.Tensor | None:
    """A long list of numbers as a tensor: what differs in it is one thing to say."""
    if type(value) not in (list, tuple) or len(value) < _MANY:
        return None
    kinds = set(map(type, value))
    try:
        return torch.tensor(value) if kinds in ({int}, {float}) else None
    except (OverflowError, RuntimeError, ValueError):  # larger than 64 bits
        return None


def _read(parts: Parts) -> Parts:
    """The parts of a value, until its class raises."""
    try:
        yield from parts
    except Exception as error:  # noqa: BLE001 - a user's class can raise anything
        yield "", Opaque(None, why_unreadable(error))
