"""Telling values of different ranks apart by a few bytes."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["digest"]

_MANY = 1000
"""How many items of a collection count."""

_DEEP = 4
"""How many levels of nested collections count."""

_LARGE = 1 << 20
"""How many elements of a tensor count, evenly spread in a larger one."""


def digest(value: Any) -> str:
    """A short text that is equal for equal values; empty where equality is unknown.

    Args:
        value: A number, text, tensor, module, optimizer, or a collection of these.
    """
    parts = _parts(value, 0)
    return "" if parts is None else f"{zlib.crc32(repr(parts).encode()):08x}"


def _parts(value: Any, depth: int) -> Any:
    """The parts that make a digest; None where they are unknown."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    if isinstance(value, nn.Module):
        # Buffers, such as a BatchNorm's, rightly differ from rank to rank.
        return _parts([parameter.detach() for parameter in value.parameters()], depth)
    if isinstance(value, torch.optim.Optimizer):
        return _parts([*value.state.values()], depth)
    if isinstance(value, Mapping):
        value = [*value.items()]
    if type(value) in (list, tuple) and depth < _DEEP and len(value) <= _MANY:
        parts = [_parts(one, depth + 1) for one in value]
        return None if any(part is None for part in parts) else parts
    return None


def _tensor(tensor: Any) -> Any:
    if type(tensor) not in (torch.Tensor, nn.Parameter) or tensor.layout is not torch.strided:
        return None
    flat = tensor.detach().reshape(-1)
    some = flat[:: max(1, flat.numel() // _LARGE)].cpu().contiguous()
    if some.is_complex() or some.is_quantized:
        return None
    number = zlib.crc32(ctypes.string_at(some.data_ptr(), some.nbytes))
    return tuple(tensor.shape), str(tensor.dtype), number
