"""The leaves of any value: tensors, numbers, texts, by the path on which they are found."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias

import torch

__all__ = ["MOST", "Opaque", "leaves"]

MOST = 100_000
"""Leaves of a value at most."""

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
)


class Opaque:
    """A leaf that cannot be compared."""

    def __init__(self, value: object, why: str) -> None:
        self.kind = type(value).__name__
        self.why = why


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Walk through a value.

    Yields:
        Paths and leaves: tensors, scalars of Python, or :class:`Opaque`. A cycle is cut where it
        closes.
    """
    yield from _walk(value, "", {})


def _walk(value: Any, path: str, above: dict[int, str]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (torch.Tensor, *_SCALARS)):
        yield path, value
    elif isinstance(value, torch.Generator):
        yield path, value.get_state()
    elif id(value) in above:
        yield path, f"(the same as {above[id(value)] or 'the whole'})"
    else:
        above = {**above, id(value): path}
        parts = _parts(value)
        if parts is None:
            yield path, Opaque(value, f"a {type(value).__name__} cannot be compared")
            return
        is_empty = True
        for step, part in parts:
            is_empty = False
            yield from _walk(part, f"{path}{step}" if path else step.lstrip("."), above)
        if is_empty:
            yield path, f"(empty {type(value).__name__})"


def _parts(value: Any) -> _Parts | None:
    """The parts of a value, each with the step that leads there; None: it has none."""
    for fits, take_apart in _KINDS:
        if fits(value):
            return take_apart(value)
    if isinstance(value, type) or callable(value) or not getattr(value, "__dict__", None):
        return None
    return ((f".{name}", part) for name, part in sorted(vars(value).items()))


def _of_module(value: torch.nn.Module) -> _Parts:
    tensors = (*value.named_parameters(remove_duplicate=False), *value.named_buffers())
    return ((f".{name}", tensor) for name, tensor in tensors)


def _of_dataclass(value: Any) -> _Parts:
    names = [field.name for field in dataclasses.fields(value)]
    return ((f".{name}", getattr(value, name, None)) for name in names)


def _of_numpy(value: Any) -> _Parts | None:
    if getattr(value, "dtype", None) is None or value.dtype.hasobject:
        return None
    try:
        return iter([("", torch.as_tensor(value))])
    except (TypeError, ValueError):  # a text, a date
        return iter([("", repr(value.tolist()))])


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is(*classes: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, classes)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], _Parts | None]], ...] = (
    (_is(torch.nn.Module), _of_module),
    (_is(Mapping), lambda value: ((f"[{key!r}]", part) for key, part in value.items())),
    (_is(list, tuple), lambda value: ((f"[{i}]", part) for i, part in enumerate(value))),
    (_is(AbstractSet), lambda v: ((f"{{{i}}}", p) for i, p in enumerate(sorted(v, key=repr)))),
    (_is(random.Random), lambda value: iter([(".state", value.getstate())])),
    (lambda value: type(value).__module__ == "numpy", _of_numpy),
    (_is_dataclass, _of_dataclass),
    (
        lambda value: callable(getattr(value, "state_dict", None)),
        lambda value: _parts(value.state_dict()),
    ),
)
"""What a value is, and how it is taken apart; the first that fits. Optimizers have a state_dict."""
