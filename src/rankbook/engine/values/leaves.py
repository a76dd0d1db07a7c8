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
from collections.abc import Iterator
from typing import Any

import torch

from rankbook.engine.values.kinds import class_name
from rankbook.engine.values.pieces import Opaque, Parts, parts_of

__all__ = ["MOST", "Opaque", "leaves", "why_unreadable", "written"]

MOST = 100_000
"""Leaves of a value at most."""

_DEEPEST = 100
"""Levels of nesting down to which a value is walked through."""

_LONG = 10_000
"""Bits of an integer from which on Python writes it in hexadecimal only."""

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
"""What is compared as ``repr`` writes it."""


def why_unreadable(error: Exception) -> str:
    """Why a part of a value cannot be read: the exception that a class of a person's raised."""
    return f"reading it raises {type(error).__name__}: {error}".split("\n")[0]


def written(value: Any) -> str:
    """Write a scalar as ``repr`` does; Python refuses that for enormous integers."""
    if type(value) is int and value.bit_length() > _LONG:
        return hex(value)
    # A person's class may write all its values alike.
    base: Any = next(
        (base for base in (int, float, complex, str, bytes) if isinstance(value, base)), None
    )
    is_own = base is None or isinstance(value, (bool, enum.Enum))
    return repr(value) if is_own else base.__repr__(value)


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Walk through a value.

    Yields:
        Paths and leaves: tensors, scalars of Python, or :class:`Opaque`. A cycle is cut where it
        closes, and what cannot be read is a leaf that says why.
    """
    yield from _walk(value, "", {})


def _walk(value: Any, path: str, above: dict[int, str]) -> Iterator[tuple[str, Any]]:
    # Of its type: a person's class may have a __class__ that raises.
    if issubclass(type(value), _SCALARS):
        yield path, value
    elif id(value) in above:
        yield path, f"(the same as {above[id(value)] or 'the whole'})"
    elif len(above) >= _DEEPEST:
        yield path, Opaque(value, f"it is nested more than {_DEEPEST} levels deep")
    else:
        above = {**above, id(value): path}
        try:
            parts = parts_of(value)
        except Exception as error:  # noqa: BLE001 - a person's class can raise anything
            yield path, Opaque(value, why_unreadable(error))
            return
        if parts is None and issubclass(type(value), torch.Tensor):
            yield path, value
            return
        if parts is None:
            name = class_name(value)
            article = "an" if name[:1].lower() in "aeio" else "a"
            yield path, Opaque(value, f"{article} {name} cannot be compared")
            return
        is_empty = True
        for step, part in _read(parts):
            is_empty = False
            if type(part) is Opaque:
                yield path, part
                continue
            yield from _walk(part, f"{path}{step}" if path else step.lstrip("."), above)
        if is_empty:
            yield path, f"(empty {class_name(value)})"


def _read(parts: Parts) -> Parts:
    """The parts of a value, until its class raises."""
    try:
        yield from parts
    except Exception as error:  # noqa: BLE001 - a person's class can raise anything
        yield "", Opaque(None, why_unreadable(error))
