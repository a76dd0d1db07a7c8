"""The leaves of any value: tensors, numbers, texts, by the path on which they are found."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import inspect
import io
import pathlib
import random
import re
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, TypeAlias

import torch

from rankbook.engine.kinds import class_name

__all__ = ["MOST", "Opaque", "leaves", "why_unreadable", "written"]

MOST = 100_000
"""Leaves of a value at most."""

_DEEPEST = 100
"""Levels of nesting down to which a value is walked through."""

_LONG = 10_000
"""Bits of an integer from which on Python writes it in hexadecimal only."""

_Parts: TypeAlias = Iterator[tuple[str, Any]]

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

_CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)
"""What has attributes, but is no value."""


class Opaque:
    """A leaf that cannot be compared."""

    def __init__(self, value: object, why: str) -> None:
        self.kind = class_name(value)
        self.why = why


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
            parts = _parts(value)
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


def _read(parts: _Parts) -> _Parts:
    """The parts of a value, until its class raises."""
    try:
        yield from parts
    except Exception as error:  # noqa: BLE001 - a person's class can raise anything
        yield "", Opaque(None, why_unreadable(error))


def _parts(value: Any) -> _Parts | None:
    """The parts of a value, each with the step that leads there; None: it has none."""
    if issubclass(type(value), _CODE):
        return None
    for fits, take_apart in _KINDS:
        if fits(value):
            return take_apart(value)
    return _of_attributes(value)


def _of_attributes(value: Any) -> _Parts | None:
    """What an object keeps; of one that could keep something, and does not, nothing."""
    own = getattr(value, "__dict__", None)
    names = {*(own or ()), *_slots(type(value))}
    parts = ((f".{name}", getattr(value, name)) for name in sorted(names) if hasattr(value, name))
    # What is larger than an object of a plain class keeps something in C.
    is_plain = own is not None and type(value).__basicsize__ <= _Plain.__basicsize__
    return parts if names or is_plain else None


class _Plain:
    """As small as an object with a ``__dict__`` can be."""


def _slots(kind: type) -> Iterator[str]:
    """The names in ``__slots__`` of a class and those above it."""
    for each in kind.__mro__:
        slots = each.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                hides = name.startswith("__") and not name.endswith("__")
                yield f"_{each.__name__.lstrip('_')}{name}" if hides else name


def _of_tensor(value: torch.Tensor) -> _Parts | None:
    """Of a tensor that is not in one piece, the tensors that it is made of."""
    if torch.nn.parameter.is_lazy(value):
        return iter([("", Opaque(value, "it has no data before its module has run"))])
    value = value.detach()
    if value.is_quantized and value.qscheme() in _ONE_SCALE:
        return iter(
            [
                (".int_repr()", value.int_repr()),
                (".q_scale()", value.q_scale()),
                (".q_zero_point()", value.q_zero_point()),
            ]
        )
    if value.is_nested and value.layout == torch.strided:
        return ((f"[{i}]", part) for i, part in enumerate(value.unbind()))
    names = _PIECES.get(value.layout, ())
    if not names and hasattr(value, "__tensor_flatten__") and not hasattr(value, "to_local"):
        # A class whose data are other tensors: torchao's, for example.
        inner, _ = value.__tensor_flatten__()
        return ((f".{name}", getattr(value, name)) for name in inner)
    if value.layout == torch.sparse_coo:
        value = value.coalesce()
    return ((f".{name}()", getattr(value, name)()) for name in names) if names else None


_ONE_SCALE = (torch.per_tensor_affine, torch.per_tensor_symmetric)

_PIECES = {
    torch.sparse_coo: ("indices", "values"),
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
    torch.jagged: ("values", "offsets"),
}
"""By layout, the methods that give what a tensor is made of."""


def _of_exception(value: BaseException) -> _Parts:
    return iter([(".args", value.args), *((f".{name}", vars(value)[name]) for name in vars(value))])


def _of_module(value: torch.nn.Module) -> _Parts:
    tensors = (*value.named_parameters(remove_duplicate=False), *value.named_buffers())
    return ((f".{name}", tensor) for name, tensor in tensors)


def _of_dataclass(value: Any) -> _Parts:
    names = [field.name for field in dataclasses.fields(value)]
    return ((f".{name}", getattr(value, name, None)) for name in names)


def _of_numpy(value: Any) -> _Parts | None:
    kind = getattr(value, "dtype", None)
    if kind is None:
        return iter([("", repr(value))]) if hasattr(value, "itemsize") else _of_attributes(value)
    if hasattr(value, "filled"):
        return iter([(".data", value.data), (".mask", value.mask)])
    if kind.names:
        return ((f"[{name!r}]", value[name]) for name in kind.names)
    if kind.hasobject:
        return ((f"[{i}]", part) for i, part in enumerate(value.ravel().tolist()))
    if kind.kind in "biufc":  # in this machine's order of bytes, without gaps
        value = value.astype(kind.newbyteorder("="), order="C")
    try:
        return iter([("", torch.as_tensor(value))])
    except (TypeError, ValueError):  # a text, a date
        return iter([("", repr(value.tolist()))])


def _of_numpy_generator(value: Any) -> _Parts | None:
    """Of what draws NumPy's random numbers, its state."""
    if hasattr(value, "bit_generator"):
        return iter([(".bit_generator.state", value.bit_generator.state)])
    if hasattr(value, "get_state"):
        return iter([(".get_state()", value.get_state(legacy=False))])
    return None


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is(*classes: type) -> Callable[[Any], bool]:
    return lambda value: issubclass(type(value), classes)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], _Parts | None]], ...] = (
    (_is(torch.Tensor), _of_tensor),
    (_is(torch.Generator), lambda value: iter([("", value.get_state())])),
    (_is(torch.nn.Module), _of_module),
    (_is(Mapping), lambda value: ((f"[{key!r}]", part) for key, part in value.items())),
    (_is(Sequence), lambda value: ((f"[{i}]", part) for i, part in enumerate(value))),
    (_is(AbstractSet), lambda v: ((f"{{{i}}}", p) for i, p in enumerate(sorted(v, key=repr)))),
    (
        _is(torch.UntypedStorage),
        lambda v: iter([("", torch.empty(0, dtype=torch.uint8, device=v.device).set_(v))]),
    ),
    (_is(io.BytesIO, io.StringIO), lambda value: iter([(".getvalue()", value.getvalue())])),
    (_is(BaseException), _of_exception),
    (_is(partial), lambda v: ((f".{n}", getattr(v, n)) for n in ("func", "args", "keywords"))),
    (_is(random.Random), lambda value: iter([(".state", value.getstate())])),
    (lambda value: type(value).__module__.startswith("numpy.random"), _of_numpy_generator),
    (lambda value: type(value).__module__.partition(".")[0] == "numpy", _of_numpy),
    (_is_dataclass, _of_dataclass),
    (
        # Not getattr: it would call a person's __getattr__.
        lambda value: callable(inspect.getattr_static(value, "state_dict", None)),
        lambda value: _parts(value.state_dict()),
    ),
)
"""What a value is, and how it is taken apart; the first that fits. Optimizers have a state_dict."""
