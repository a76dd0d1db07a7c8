"""The entry points of ``torch.distributed`` calls, and the positions of their arguments.

Two ways lead to the backends. Python's calls come through a method of ``ProcessGroup``; calls
issued in C++, by DDP's reducer and the functional collectives, only through torch's dispatcher. The
tables give the operation, and the positions of the needed arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.distributed.distributed_c10d as c10d

__all__ = [
    "FUNCTIONAL",
    "METHODS",
    "OPS",
    "REDUCTIONS",
    "Tap",
    "reduction",
    "tensors_of",
]


@dataclass(frozen=True)
class Tap:
    """How to read the arguments of one entry point: their positions, None for missing ones."""

    op: str
    tensors: int | None
    """The tensors that set the size: this rank's inputs, or its outputs where only the root has
    inputs (``scatter``), or where they are lists (``reduce_scatter``)."""
    group: int = -1
    """The process group; for a method, its object."""
    reduces: int | None = None
    root: int | None = None
    peer: int | None = None
    tag: int | None = None


METHODS = {
    "_allgather_base": Tap("all_gather_into_tensor", 1),
    "_reduce_scatter_base": Tap("reduce_scatter_tensor", 1, reduces=2),
    "all_gather_single": Tap("all_gather_into_tensor", 1),
    "all_gather_single_coalesced": Tap("all_gather_into_tensor_coalesced", 1),
    "all_to_all_single": Tap("all_to_all_single", 1),
    "allgather": Tap("all_gather", 1),
    "allgather_coalesced": Tap("all_gather_coalesced", 1),
    "allgather_into_tensor_coalesced": Tap("all_gather_into_tensor_coalesced", 1),
    "allreduce": Tap("all_reduce", 0, reduces=1),
    "allreduce_coalesced": Tap("all_reduce_coalesced", 0, reduces=1),
    "alltoall": Tap("all_to_all", 1),
    "alltoall_base": Tap("all_to_all_single", 1),
    "barrier": Tap("barrier", None),
    "broadcast": Tap("broadcast", 0, root=1),
    "gather": Tap("gather", 1, root=2),
    "gather_into_tensor": Tap("gather_into_tensor", 1, root=2),
    "gather_single": Tap("gather_into_tensor", 1, root=2),
    "monitored_barrier": Tap("monitored_barrier", None),
    "recv": Tap("recv", 0, peer=1, tag=2),
    "recv_anysource": Tap("recv", 0, tag=1),
    "reduce": Tap("reduce", 0, reduces=1, root=1),
    "reduce_scatter": Tap("reduce_scatter", 0, reduces=2),
    "reduce_scatter_single": Tap("reduce_scatter_tensor", 1, reduces=2),
    "reduce_scatter_single_coalesced": Tap("reduce_scatter_tensor_coalesced", 1, reduces=2),
    "reduce_scatter_tensor_coalesced": Tap("reduce_scatter_tensor_coalesced", 1, reduces=2),
    "scatter": Tap("scatter", 0, root=2),
    "send": Tap("send", 0, peer=1, tag=2),
}
"""Methods of ``ProcessGroup``. Reduce operation and root are at these positions, or in options."""

OPS = {
    "_allgather_base_": Tap("all_gather_into_tensor", 1, 2),
    "_reduce_scatter_base_": Tap("reduce_scatter_tensor", 1, 2, reduces=3),
    "allgather_": Tap("all_gather", 1, 2),
    "allgather_coalesced_": Tap("all_gather_coalesced", 1, 2),
    "allgather_into_tensor_coalesced_": Tap("all_gather_into_tensor_coalesced", 1, 2),
    "allreduce_": Tap("all_reduce", 0, 1, reduces=2),
    "allreduce_coalesced_": Tap("all_reduce_coalesced", 0, 1, reduces=2),
    "alltoall_": Tap("all_to_all", 1, 2),
    "alltoall_base_": Tap("all_to_all_single", 1, 2),
    "barrier": Tap("barrier", None, 1),
    "broadcast_": Tap("broadcast", 0, 1, root=2),
    "gather_": Tap("gather", 1, 2, root=3),
    "gather_into_tensor_": Tap("gather_into_tensor", 1, 2, root=3),
    "monitored_barrier_": Tap("monitored_barrier", None, 1),
    "recv_": Tap("recv", 0, 1, peer=2, tag=3),
    "recv_any_source_": Tap("recv", 0, 1, tag=2),
    "reduce_": Tap("reduce", 0, 1, reduces=2, root=3),
    "reduce_scatter_": Tap("reduce_scatter", 0, 2, reduces=3),
    "reduce_scatter_tensor_coalesced_": Tap("reduce_scatter_tensor_coalesced", 1, 2, reduces=3),
    "scatter_": Tap("scatter", 0, 2, root=3),
    "send": Tap("send", 0, 1, peer=2, tag=3),
}
"""Operators of the dispatcher's ``c10d``, the last step before a backend."""

FUNCTIONAL = {
    "all_gather_into_tensor": Tap("all_gather_into_tensor", 0, 2),
    "all_gather_into_tensor_coalesced": Tap("all_gather_into_tensor_coalesced", 0, 2),
    "all_gather_into_tensor_out": Tap("all_gather_into_tensor", 0, 2),
    "all_reduce": Tap("all_reduce", 0, 2, reduces=1),
    "all_reduce_": Tap("all_reduce", 0, 2, reduces=1),
    "all_reduce_coalesced": Tap("all_reduce_coalesced", 0, 2, reduces=1),
    "all_reduce_coalesced_": Tap("all_reduce_coalesced", 0, 2, reduces=1),
    "all_to_all_single": Tap("all_to_all_single", 0, 3),
    "broadcast": Tap("broadcast", 0, 2, root=1),
    "broadcast_": Tap("broadcast", 0, 2, root=1),
    "irecv": Tap("recv", 0, 3, peer=1, tag=2),
    "isend": Tap("send", 0, 3, peer=1, tag=2),
    "reduce_scatter_tensor": Tap("reduce_scatter_tensor", 0, 3, reduces=1),
    "reduce_scatter_tensor_coalesced": Tap("reduce_scatter_tensor_coalesced", 0, 3, reduces=1),
    "reduce_scatter_tensor_out": Tap("reduce_scatter_tensor", 0, 3, reduces=1),
}
"""Operators of the dispatcher's ``_c10d_functional``, which compiled code calls, too."""

REDUCTIONS = {
    hash(value): name.lower() for name, value in c10d.ReduceOp.RedOpType.__members__.items()
}
"""Names of reduce operations by their hashes."""


def reduction(value: Any) -> str:
    """Name a reduce operation in any of its forms: ``sum``, ``max`` and so on."""
    if isinstance(value, torch.ScriptObject):
        op = getattr(value, "op", None)  # torch 2.9 does not say
        return "" if op is None else REDUCTIONS[op()]
    if isinstance(value, str):
        return value.lower()
    if value is None:  # torch's default
        return "sum"
    # The hash of an operation is its number: comparing two objects takes microseconds.
    return REDUCTIONS[hash(getattr(value, "reduceOp", value))]


def tensors_of(value: Any) -> Sequence[Any]:
    """The tensors of an argument: one, a list, or a list of lists."""
    if isinstance(value, torch.Tensor):
        return (value,)
    if value and isinstance(value[0], (list, tuple)):
        return list(chain.from_iterable(value))
    return value  # type: ignore[no-any-return]
