"""Explaining torch exceptions that are due to a process group that has ended."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from rankbook.distributed.healing import meshes, saving, stale
from rankbook.errors import StaleGroupError

__all__ = ["explain"]

_SIGNS = (
    "Could not find backend type",
    "Could not find the default backend type",
    "Could not retrieve or create the backend",
    "is not initialized in the world group map",
    "is not registered, please create group",
    "Could not resolve the process group registered under the name",
    "ProcessGroup name not set",  # torch.compile, which has to know it
)
"""torch's messages for a group that has no connections, or that it does not know."""

_TORCH = str(Path(torch.__file__).parent)
_DISTRIBUTED = str(Path(dist.__file__).parent)


def explain(error: BaseException) -> StaleGroupError | None:
    """The explanation of an exception due to a group that has ended; None for any other."""
    if isinstance(error, StaleGroupError):
        return StaleGroupError(*error.args)
    if (of_saving := saving.explain(error)) is not None:
        return of_saving
    if _is_of(error, _DISTRIBUTED) and (why := _of_refused(error, of=_has_ended)):
        # What torch has begun with it before it failed, it may find when it is used again.
        return StaleGroupError(why)
    if not _is_of_group(error) or _is_no_group(error):
        return None
    if (why := _of_refused(error)) is None:
        kind, again = _kind(error)
        owner = "" if kind == "process group" else "its process group "
        why = f"this {kind} was made {_origin(error)}, and {owner}has ended: make it again, {again}"
    return StaleGroupError(why)


def _is_of_group(error: BaseException) -> bool:
    """Whether torch says that a group has no connections, and there are such."""
    is_torchs = isinstance(error, (RuntimeError, ValueError))
    return is_torchs and bool(stale.latest()) and any(sign in str(error) for sign in _SIGNS)


def _is_no_group(error: BaseException) -> bool:
    """Whether torch was given something else in place of a group, such as a mesh or a name."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    named = [
        frame.f_locals[name]
        for frame in frames
        for name in ("group", "pg")
        if name in frame.f_locals
    ]
    return bool(named) and not any(isinstance(one, dist.ProcessGroup) for one in named)


def _origin(error: BaseException) -> str:
    """Where the object was made whose group caused an exception, in words."""
    if found := meshes.origin(str(error)):
        return found
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        for one in _objects(frame.f_locals):
            if found := stale.origin(one):
                return found
    return f"{stale.latest()} or before"


def _has_ended(one: Any) -> bool:
    """Whether an object that does not run is of no use any more: it neither waits nor is whole."""
    return not isinstance(one, DistributedDataParallel) and one not in stale.waiting()


def _of_refused(error: BaseException, of: Callable[[Any], bool] = lambda _: True) -> str | None:
    """Why the outermost object does not run that torch worked on when it raised.

    Args:
        error: What torch raised.
        of: A condition on the object.
    """
    refused = stale.refused()
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith(_TORCH):
            for one in _objects(frame.f_locals):
                if (why := refused.get(id(one))) is not None and of(one):
                    return why
    return None


def _is_of(error: BaseException, folder: str) -> bool:
    """Whether an exception, not an interrupt, was raised by code in a folder."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    is_in = any(frame.f_code.co_filename.startswith(folder) for frame in frames)
    return isinstance(error, Exception) and is_in


def _objects(names: dict[str, Any]) -> Iterator[Any]:
    """The values of local names, and the items of those that are lists."""
    for value in list(names.values()):
        yield value
        if isinstance(value, (list, tuple)):
            yield from value


_LOAD = "and load a checkpoint"

_USERS = (
    ("torch/distributed/fsdp/_fully_shard/", "FSDP module", f"fully_shard(model), {_LOAD}"),
    ("torch/distributed/fsdp/", "FSDP module", f"FullyShardedDataParallel(model), {_LOAD}"),
    ("torch/distributed/tensor/parallel/", "tensor-parallel module", "parallelize_module(...)"),
    ("torch/distributed/tensor/", "DTensor", "distribute_tensor(tensor, init_device_mesh(...))"),
    ("torch/distributed/pipelining/", "pipeline stage", "PipelineStage(module, ...)"),
    ("torch/nn/modules/_functions", "SyncBatchNorm", "with dist.new_group(...)"),
    ("torch/distributed/device_mesh", "device mesh", "init_device_mesh(...)"),
)
"""Where torch uses groups: a part of the path, what holds the group, and how that is made."""


def _kind(error: BaseException) -> tuple[str, str]:
    """The kind of object that caused an exception, and how to make it again."""
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame.filename.replace("\\", "/") for frame in frames]
    for path, kind, again in _USERS:
        if any(path in file for file in files):
            return kind, again
    if meshes.origin(str(error)):
        return "device mesh", "init_device_mesh(...)"
    return "process group", "dist.new_group(...)"
