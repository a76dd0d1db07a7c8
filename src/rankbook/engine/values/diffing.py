"""The content of a value on this rank: a hash per leaf, then per chunk, then what differs.

Nothing here issues a collective: for a DTensor, the local shard counts.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
from collections.abc import Iterator
from typing import Any

import torch

from rankbook.engine.values.leaves import Opaque, why_unreadable, written
from rankbook.models.diffs import CHUNK, Leaf

__all__ = ["chunks_of", "digest_of", "hash_of", "leaf_of", "local_part", "memory_of"]

_PIECE = 64 * 1024 * 1024
"""How many bytes are moved to the CPU, and hashed, at a time."""

_SHORT = 40
"""How many characters of a value are shown."""


def leaf_of(path: str, value: Any) -> Leaf:
    """Describe a leaf."""
    if isinstance(value, Opaque):
        return Leaf(path, value.kind, why=value.why)
    try:
        return _of_tensor(path, value) if isinstance(value, torch.Tensor) else _scalar(path, value)
    except Exception as error:  # noqa: BLE001 - a lazy parameter, a subclass without an operation
        return Leaf(path, type(value).__name__, why=why_unreadable(error))


def _scalar(path: str, value: Any) -> Leaf:
    kind, text = type(value).__name__, written(value)
    digest = hashlib.blake2b(f"{kind} {text}".encode(), digest_size=16).hexdigest()
    return Leaf(path, kind, digest, text=text if len(text) <= _SHORT else f"{text[:_SHORT]}…")


def _of_tensor(path: str, value: torch.Tensor) -> Leaf:
    local = local_part(value)
    part, layout, why = _shard(value)
    facts: dict[str, Any] = {
        "shape": tuple(local.shape),
        "dtype": str(value.dtype).removeprefix("torch."),
        "device": value.device.type,
        "requires_grad": value.requires_grad,
        "part": part,
        "layout": layout,
        "nbytes": local.numel() * local.element_size(),
    }
    why = why or _why_not(local)
    if why:
        return Leaf(path, "tensor", why=why, **facts)
    nans, infs = _not_finite(local)
    text = repr(local.item()) if local.numel() == 1 else ""
    return Leaf(path, "tensor", digest_of(local), nans=nans, infs=infs, text=text, **facts)


def _why_not(local: torch.Tensor) -> str:
    """Why a tensor cannot be compared; empty if it can."""
    if local.is_meta:
        return "a tensor without data"
    if local.is_quantized:
        return f"it is quantized by {local.qscheme()}"
    if local.layout != torch.strided:
        return f"its layout is {local.layout}"
    nbytes = local.numel() * local.element_size()
    if nbytes > max(_PIECE, local.untyped_storage().nbytes()):
        return f"it is expanded to {nbytes:,} bytes: compare what it is expanded from"
    return ""


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor on this rank."""
    tensor = tensor.detach()
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _shard(tensor: torch.Tensor) -> tuple[str, str, str]:
    """The shard of a DTensor here, its layout, and why it cannot be compared."""
    if not hasattr(tensor, "to_local"):
        return "", "", ""
    dtensor: Any = tensor
    mesh, placements = dtensor.device_mesh, dtensor.placements
    names = mesh.mesh_dim_names or [str(i) for i in range(mesh.ndim)]
    coordinate = mesh.get_coordinate() or [-1] * mesh.ndim
    # Other placements divide tensors, too: FSDP2 with tensor parallelism has its own.
    part = ", ".join(
        f"{name}={at}"
        for name, at, placement in zip(names, coordinate, placements, strict=True)
        if not (placement.is_replicate() or placement.is_partial())
    )
    shape = "x".join(map(str, tensor.shape))
    layout = f"{shape} on {tuple(mesh.shape)}: {', '.join(map(str, placements))}"
    partial = any(placement.is_partial() for placement in placements)
    return part, layout, "its parts are still to be summed" if partial else ""


def _not_finite(tensor: torch.Tensor) -> tuple[int, int]:
    """How many values are NaN, and how many infinite."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or not tensor.numel():
        return 0, 0
    try:
        total = tensor.sum()
        if math.isfinite(abs(total.item())):  # one pass; most are
            return 0, 0
        return int(tensor.isnan().sum()), int(tensor.isinf().sum())
    except (RuntimeError, NotImplementedError):  # 8-bit floats cannot be summed
        wide = _widened(tensor)
        return int(wide.isnan().sum()), int(wide.isinf().sum())


def digest_of(tensor: torch.Tensor) -> str:
    """A hash of all bits of a tensor, with every NaN made equal."""
    found = hashlib.blake2b(digest_size=16, usedforsecurity=False)
    for piece in _bytes(tensor, _PIECE):
        found.update(memory_of(piece))
    return found.hexdigest()


def hash_of(chunk: torch.Tensor) -> str:
    """A hash of a chunk."""
    return hashlib.blake2b(memory_of(chunk), digest_size=16, usedforsecurity=False).hexdigest()


def chunks_of(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The bytes of a tensor, in pieces of :data:`~rankbook.models.diffs.CHUNK` bytes."""
    return _bytes(tensor, CHUNK)


def _bytes(tensor: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """The bytes of a tensor, in pieces on the CPU, with every NaN made equal."""
    flat = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1)
    if flat.numel() == 1:  # "contiguous" with any stride, but bytes cannot be seen through it
        flat = flat.clone(memory_format=torch.contiguous_format)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    step = max(1, size // flat.element_size())
    for start in range(0, flat.numel(), step):
        piece = flat[start : start + step].cpu()
        yield _with_equal_nans(piece) if flat.is_floating_point() else piece.view(torch.uint8)


def memory_of(piece: torch.Tensor) -> memoryview:
    """The memory of a tensor of bytes, without NumPy, which a rank may lack."""
    count = piece.numel()
    if not count:
        return memoryview(b"")
    if not (address := piece.data_ptr()):
        raise ValueError(f"a {type(piece).__name__} has its data elsewhere")
    return memoryview((ctypes.c_ubyte * count).from_address(address)).cast("B")


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in a format that has all operations; none where there is no way there."""
    try:
        return tensor.float()
    except (RuntimeError, NotImplementedError):  # 4-bit floats, two to a byte, which have no NaN
        return torch.zeros(())


def _with_equal_nans(piece: torch.Tensor) -> torch.Tensor:
    """The bytes of numbers, those of every NaN made those of one."""
    data = piece.view(torch.uint8)
    try:
        if not math.isnan(piece.sum().item()):  # one pass; most have none
            return data
        nans = piece.isnan()
    except (RuntimeError, NotImplementedError):  # 8-bit floats cannot be summed
        nans = _widened(piece).isnan()
    if not nans.any():  # a sum of infinities
        return data
    data = data.reshape(piece.numel(), -1).clone()
    data[nans] = torch.full((1,), math.nan).to(piece.dtype).view(torch.uint8)
    return data.reshape(-1)
