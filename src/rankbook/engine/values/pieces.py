"""Taking values apart: the parts of a tensor, a module, an array or an object."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import random
import struct
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch.distributed.device_mesh import DeviceMesh

from rankbook.engine.values.kinds import class_name

__all__ = ["Opaque", "Parts", "made_of", "parts_of"]

Parts: TypeAlias = Iterator[tuple[str, Any]]
"""Pairs of a step and the part it leads to: ``(".weight", tensor)``."""

_CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)
"""Types with attributes that are not values."""


class Opaque:
    """A leaf that cannot be compared."""

    def __init__(self, value: object, why: str) -> None:
        self.kind = class_name(value)
        self.why = why


def parts_of(value: Any) -> Parts | None:
    """The parts of a value, each with the step that leads there; None if it has none."""
    if issubclass(type(value), _CODE):
        return None
    for fits, take_apart in _KINDS:
        if fits(value):
            return take_apart(value)
    return _of_attributes(value)


def made_of(value: Any) -> Iterator[tuple[str, str]]:
    """Of what class a value is; of a module, of which its modules are, and whether they train."""
    if not issubclass(type(value), torch.nn.Module):
        yield "", class_name(value)
        return
    for name, module in value.named_modules():
        step = f".{name}" if name else ""
        yield step, class_name(module)
        yield f"{step}.training", str(module.training)


def _of_attributes(value: Any) -> Parts | None:
    """What an object keeps; of one that could keep something, and does not, nothing."""
    own, slots = getattr(value, "__dict__", None), {*_slots(type(value))}
    names = sorted(name for name in {*(own or ()), *slots} if hasattr(value, name))
    # What is larger than an object of a plain class keeps something in C.
    is_plain = type(value).__basicsize__ <= _Plain.__basicsize__ + _POINTER * len(slots)
    if not names:
        return iter(()) if own is not None and is_plain else None
    parts = ((f".{name}", getattr(value, name)) for name in names)
    if is_plain:
        return parts
    why = f"what a {class_name(value)} keeps beside its attributes cannot be compared"
    return chain(parts, [("", Opaque(value, why))])


class _Plain:
    """As small as an object with a ``__dict__`` can be."""


_POINTER = struct.calcsize("P")
"""Bytes that a slot takes."""


def _slots(kind: type) -> Iterator[str]:
    """The names in ``__slots__`` of a class and those above it."""
    for each in kind.__mro__:
        slots = each.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                hides = name.startswith("__") and not name.endswith("__")
                yield f"_{each.__name__.lstrip('_')}{name}" if hides else name


def _of_tensor(value: torch.Tensor) -> Parts | None:
    """The component tensors of a tensor that has several."""
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
        # A class made of other tensors, such as torchao's.
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
"""By layout, the methods that return a tensor's components."""


def _of_exception(value: BaseException) -> Parts:
    return iter([(".args", value.args), *((f".{name}", vars(value)[name]) for name in vars(value))])


def _of_mapping(value: Mapping[Any, Any]) -> Parts:
    for number, (key, part) in enumerate(value.items()):
        # An optimizer's state has tensors as keys: their repr is their numbers.
        step = repr(key) if _is_word(key) else f"{class_name(key)} #{number}"
        yield f"[{step}]", part


def _of_set(value: AbstractSet[Any]) -> Parts:
    for number, part in enumerate(sorted(value, key=repr)):
        yield f"{{{repr(part) if _is_word(part) else number}}}", part


def _is_word(value: Any) -> bool:
    """Whether a key says by itself which one it is."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_word, value))
    return isinstance(value, _WORDS)


_WORDS = (str, bytes, int, float, type(None), enum.Enum, torch.dtype, torch.device, torch.Size)


def _of_mesh(value: Any) -> Parts:
    """Of a device mesh, what is alike on all ranks: not which place in it is this rank's."""
    names = ("mesh", "mesh_dim_names", "device_type")
    return ((f".{name}", getattr(value, name)) for name in names)


def _of_module(value: torch.nn.Module) -> Parts:
    tensors = (*value.named_parameters(remove_duplicate=False), *value.named_buffers())
    return ((f".{name}", tensor) for name, tensor in tensors)


def _of_dataclass(value: Any) -> Parts:
    names = [field.name for field in dataclasses.fields(value)]
    return ((f".{name}", getattr(value, name, None)) for name in names)


def _of_numpy(value: Any) -> Parts | None:
    kind = getattr(value, "dtype", None)
    if kind is None:
        return iter([("", repr(value))]) if hasattr(value, "itemsize") else _of_attributes(value)
    if hasattr(value, "filled"):
        return iter([(".data", value.data), (".mask", value.mask)])
    if kind.names:
        return ((f"[{name!r}]", value[name]) for name in kind.names)
    if kind.hasobject:
        return ((f"[{i}]", part) for i, part in enumerate(value.ravel().tolist()))
    if kind.kind in "biufc":  # in native byte order, without gaps
        value = value.astype(kind.newbyteorder("="), order="C")
    try:
        return iter([("", torch.as_tensor(value))])
    except (TypeError, ValueError):  # a text, a date
        return iter([("", repr(value.tolist()))])


def _of_numpy_generator(value: Any) -> Parts | None:
    """The state of a NumPy random generator."""
    if hasattr(value, "bit_generator"):
        return iter([(".bit_generator.state", value.bit_generator.state)])
    if hasattr(value, "get_state"):
        return iter([(".get_state()", value.get_state(legacy=False))])
    return None


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is(*classes: type) -> Callable[[Any], bool]:
    return lambda value: issubclass(type(value), classes)


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Parts | None]], ...] = (
    (_is(torch.Tensor), _of_tensor),
    (_is(torch.Generator), lambda value: iter([("", value.get_state())])),
    (_is(torch.nn.Module), _of_module),
    (_is(Mapping), _of_mapping),
    (_is(Sequence), lambda value: ((f"[{i}]", part) for i, part in enumerate(value))),
    (_is(AbstractSet), _of_set),
    (_is(DeviceMesh), _of_mesh),
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
        # Not getattr: it would call a user's __getattr__.
        lambda value: callable(inspect.getattr_static(value, "state_dict", None)),
        lambda value: parts_of(value.state_dict()),
    ),
)
"""Tests for a value, and how to take it apart; the first match counts."""
