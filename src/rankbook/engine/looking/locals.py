"""Describing local variables in a few words, without running user code."""

from __future__ import annotations

import sys
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch

__all__ = ["in_few_words", "variables"]

_MOST = 24
"""How many variables of a frame are described."""

_LONGEST = 80
"""How many characters of a value are shown."""

_NUMBERS = 8
"""How many numbers of a tensor, or items of a list, are shown one by one."""

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)

_GIVEN = {"torch", "dist", "rank", "world_size", "local_rank", "device", "dist_info"}
"""Names that every rank has anyway."""


def variables(frame: FrameType) -> dict[str, str]:
    """The local variables of a frame; at the top level of a cell, those named in its code."""
    values = frame.f_locals
    is_function = frame.f_code.co_flags & 0x2  # CO_NEWLOCALS
    names = [*values] if is_function else _named_in(frame.f_code)
    shown = [name for name in names if name in values and _is_variable(name, values[name])]
    told = {name: in_few_words(values[name]) for name in shown[:_MOST]}
    if len(shown) > _MOST:
        told["…"] = f"{len(shown) - _MOST} more"
    return told


def _is_variable(name: str, value: Any) -> bool:
    """Whether a name is worth showing: neither a module, a class, a function, nor our own."""
    is_definition = isinstance(value, (ModuleType, type)) or type(value).__name__ in _FUNCTIONS
    return not (name.startswith("_") or name in _GIVEN or is_definition)


_FUNCTIONS = {"function", "builtin_function_or_method", "method", "_OpNamespace"}


def _named_in(code: CodeType) -> list[str]:
    """The names in a cell's code that may be variables, in their order."""
    return list(dict.fromkeys(code.co_names))


def in_few_words(value: Any) -> str:
    """Describe a value: type, shape, and small contents.

    Only the class is shown of what cannot be read: a lazy parameter has no size, a nested tensor no
    shape, and Python refuses to write an integer of more than 4,300 digits.
    """
    try:
        return _told(value)
    except Exception:  # noqa: BLE001 - torch raises many kinds
        return type(value).__name__


def _told(value: Any) -> str:
    kind = type(value)
    if kind in (str, bytes):
        value = value[: _LONGEST + 1]  # it may be enormous
    if kind in _PLAIN:
        return _short(repr(value))
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, torch.nn.Module):
        count = sum(parameter.numel() for parameter in value.parameters())
        return f"{kind.__name__}, {count:,} parameters"
    if kind in (list, tuple, set, frozenset, dict):
        return _container(value)
    return kind.__name__


def _tensor(tensor: torch.Tensor) -> str:
    kind = type(tensor)
    dtype = str(tensor.dtype).removeprefix("torch.")
    told = f"{dtype} {list(tensor.shape)}"
    if _is_dtensor(tensor):
        dtensor: Any = tensor
        return f"DTensor {told}, {', '.join(map(str, dtensor.placements))}"
    if tensor.device.type != "cpu":
        return f"{told} on {tensor.device}"
    is_readable = kind in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if is_readable and tensor.numel() <= _NUMBERS and not tensor.is_quantized:
        return _short(f"{told} = {_numbers(tensor.detach().tolist())}")
    return told


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_numbers, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _container(value: Any) -> str:
    items = [*value.items()] if isinstance(value, dict) else [*value]
    parts = [part for item in items for part in (item if isinstance(value, dict) else [item])]
    is_short = all(type(part) not in (str, bytes) or len(part) <= _LONGEST for part in parts)
    if len(items) <= _NUMBERS and is_short and all(type(part) in _PLAIN for part in parts):
        return _short(repr(value))
    noun = "item" if len(items) == 1 else "items"
    kinds = {type(item).__name__ for item in (value.values() if isinstance(value, dict) else items)}
    return f"{type(value).__name__} of {len(items)} {noun}" + (
        f" ({kinds.pop()})" if len(kinds) == 1 else ""
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_dtensor(value: Any) -> bool:
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)
