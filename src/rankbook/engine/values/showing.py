"""Describing this rank's part of a value so that it can be drawn.

Nothing here issues a collective or runs user code, not even a value's ``__repr__``. So it works
while a cell runs, or hangs.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from itertools import islice
from types import ModuleType
from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh

from rankbook.engine.values.diffing import digest_of, local_part
from rankbook.engine.values.leaves import Opaque, leaves, written
from rankbook.engine.values.meshes import described
from rankbook.models.shown import Held, Part, Shard, Values

__all__ = ["held", "values_of"]

_PARTS = 8
"""How many tensors of a module, or of a list, are described."""

_NUMBERS = 128
"""How many numbers of a tensor are shown one by one."""

_SIDE = 16
"""The most rows, and columns, of such a tensor."""

_POOLED = (16, 32)
"""How many rows and columns of means a larger one is reduced to."""

_READ = 64 * 1024 * 1024
"""The most bytes of a tensor whose numbers are read."""

_SHORT = 60
"""How many characters of a plain value are shown."""


def held(value: Any) -> Held:
    """Describe this rank's part of a value."""
    # Of its type, here and below: a user's class may have a __class__ that raises.
    if issubclass(type(value), DeviceMesh):
        return Held(parts=(Part("", "DeviceMesh", mesh=described(value)),))
    found = list(leaves(value)) if _has_parts(value) else [("", value)]
    tensors = [pair for pair in found if isinstance(pair[1], torch.Tensor)]
    chosen = tensors or found
    parts = tuple(_part(path, leaf) for path, leaf in islice(chosen, _PARTS))
    return Held(parts=parts, more=len(chosen) - len(parts))


_SAID = re.compile(r"\((?:empty \w+|the same as .*)\)")


def _has_parts(value: Any) -> bool:
    if issubclass(type(value), torch.Tensor):
        with suppress(Exception):  # a class like torch's ShardedTensor knows few methods
            return bool(value.layout != torch.strided or value.is_quantized or value.is_nested)
        return False
    return not issubclass(type(value), (type, str, bytes, ModuleType))


def _is_dtensor(value: Any) -> bool:
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def _part(path: str, leaf: Any) -> Part:
    if isinstance(leaf, torch.Tensor):
        shard = _shard(leaf) if _is_dtensor(leaf) else None
        try:
            return Part(path, type(leaf).__name__, values=values_of(local_part(leaf)), shard=shard)
        except Exception:  # noqa: BLE001 - a lazy parameter; a nested tensor has no shape
            return Part(path, type(leaf).__name__)
    if isinstance(leaf, Opaque):
        return Part(path, leaf.kind)
    text = written(leaf)  # of Python's own: leaves have no others
    if isinstance(leaf, str) and _SAID.fullmatch(leaf):
        text = leaf  # a note about the value
    return Part(path, type(leaf).__name__, text if len(text) <= _SHORT else f"{text[:_SHORT]}…")


def _shard(tensor: Any) -> Shard:
    """The layout of a DTensor."""
    mesh, placements = tensor.device_mesh, tensor.placements
    coordinate = tuple(mesh.get_coordinate() or ())
    offset = _offset(tensor) if coordinate else ()
    names = tuple(_placement(one) for one in placements)
    return Shard(tuple(tensor.shape), described(mesh), names, coordinate, offset)


def _placement(placement: Any) -> str:
    if placement.is_partial():
        return f"Partial({placement.reduce_op})"
    if placement.is_replicate():
        return "Replicate()"
    # Other placements have other layouts: _StridedShard, of FSDP2 with tensor parallelism.
    is_plain = type(placement).__name__ == "Shard"
    return f"Shard({placement.dim})" if is_plain else repr(placement)[:_SHORT]


def _offset(tensor: Any) -> tuple[int, ...]:
    """Where this rank's part begins, as in a checkpoint; empty if it is not one area."""
    if any(placement.is_partial() for placement in tensor.placements):
        return ()
    chunks = tensor.__create_chunk_list__()
    return tuple(chunks[0].offsets) if len(chunks) == 1 else ()


def values_of(tensor: torch.Tensor) -> Values:
    """Describe the numbers of a tensor, or say why they cannot be read."""
    facts: dict[str, Any] = {
        "shape": tuple(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "device": str(tensor.device),
    }
    if why := _unread(tensor):
        return Values(**facts, why=why)
    if not tensor.numel():
        return Values(**facts)
    try:
        return _read(tensor, facts)
    except Exception:  # noqa: BLE001 - torch raises many kinds: it cannot compute with all dtypes
        return Values(**facts, why="its numbers cannot be read")


def _unread(tensor: torch.Tensor) -> str:
    """Why the numbers of a tensor are not read; empty if they can be."""
    if tensor.is_meta:
        return "it has no data"
    if tensor.layout != torch.strided:
        return f"its layout is {tensor.layout}"
    if tensor.is_quantized:
        return "it is quantized"
    is_large = tensor.numel() * tensor.element_size() > _READ
    return "it is too large to be read here" if is_large else ""


def _read(tensor: torch.Tensor, facts: dict[str, Any]) -> Values:
    tensor = tensor.cpu().resolve_conj().resolve_neg()
    flat = tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1)
    rows, columns = flat.shape
    facts |= {"digest": digest_of(tensor), **_statistics(tensor)}
    if rows * columns <= _NUMBERS and max(rows, columns) <= _SIDE:
        return Values(**facts, rows=rows, cells=tuple(map(_number, flat.flatten().tolist())))
    if flat.is_complex() or flat.dtype == torch.bool:
        flat = flat.abs() if flat.is_complex() else flat.float()
    shape = (min(rows, _POOLED[0]), min(columns, _POOLED[1]))
    pooled = torch.nn.functional.adaptive_avg_pool2d(flat.double()[None], shape)[0]
    cells = tuple(map(_number, pooled.flatten().tolist()))
    return Values(**facts, rows=shape[0], cells=cells, is_pooled=True)


def _statistics(tensor: torch.Tensor) -> dict[str, Any]:
    """The least, the largest and the mean of the finite numbers, and how many others there are.

    For complex numbers, those of their absolute values.
    """
    wide = tensor.abs().double() if tensor.is_complex() else tensor.double()
    finite = wide[wide.isfinite()]
    odd = {"odd": wide.numel() - finite.numel()}
    if not finite.numel():
        return odd
    mean = finite.mean() if finite.mean().isfinite() else (finite / finite.numel()).sum()
    told = {"least": finite.min(), "most": finite.max(), "mean": mean}
    found = {name: _number(end.item()) for name, end in told.items()}
    if tensor.dtype == torch.bool:
        found |= {name: str(found[name] == "1") for name in ("least", "most")}
    if tensor.is_complex():
        found["least"] = f"sizes {found['least']}"
    return odd | found


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (float, complex)) else str(value)
