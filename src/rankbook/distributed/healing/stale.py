"""Saying of what holds a process group that has ended what it is, and what to type."""

from __future__ import annotations

import sys
from collections.abc import Collection
from contextlib import suppress
from importlib import import_module
from typing import Any

from rankbook.distributed.healing.wrappers import Found
from rankbook.errors import StaleGroupError

__all__ = ["clear_caches", "explain", "refuse"]

_ENDED = "ended:"
"""What a mesh has before the name of a group that has ended, so that it finds no other by it."""

_SIGNS = (
    "Could not retrieve or create the backend",
    "is not initialized in the world group map",
    "is not registered, please create group",
    "Could not resolve the process group registered under the name",
)
"""What torch says when a group is used that has no connections, or that it does not know."""


class _Last:
    """The latest generation of which something could not go on."""

    generation = -1


def refuse(found: Found, names: Collection[str], generation: int) -> None:
    """Have modules and meshes that cannot go on say so when they are used.

    Args:
        found: Those modules, and every mesh.
        names: Of groups that have ended, and by which a mesh must find no other.
        generation: In which they were made.
    """
    _Last.generation = generation
    made = f"was made for generation {generation}, whose process group has ended"
    for _, module in found.ddp:
        _refuse(
            module,
            f"this DDP module {made}: wrap the model that is in it again, "
            "ddp = DistributedDataParallel(ddp.module)",
        )
    for module in found.fsdp:
        _refuse(
            module,
            f"this FSDP module {made}, and its shards with it: make the model again, "
            "fully_shard(model), and load a checkpoint",
        )
    for mesh in found.meshes:
        held: list[str] = getattr(mesh, "_dim_group_names", [])
        held[:] = [f"{_ENDED} {name}" if name in names else name for name in held]
    if names and found.meshes:
        clear_caches()


def clear_caches() -> None:
    """Have DTensor forget what it has worked out: a later mesh equals one that has ended."""
    for name in ("_dispatch", "_sharding_prop", "_redistribute", "_collective_utils"):
        module = sys.modules.get(f"torch.distributed.tensor.{name}")
        for one in list(vars(module).values()) if module else ():
            if hasattr(one, "cache_clear") and not isinstance(one, type):
                one.cache_clear()
    if "torch.distributed.tensor" not in sys.modules:
        return  # to import it takes a second
    with suppress(ImportError, AttributeError):  # another torch keeps none here
        import_module("torch.distributed.tensor.debug")._clear_sharding_prop_cache()


def _refuse(module: Any, why: str) -> None:
    def refuse(_module: Any, _inputs: Any) -> None:
        raise StaleGroupError(why)

    module.register_forward_pre_hook(refuse, prepend=True)


def explain(error: BaseException) -> StaleGroupError | None:
    """What an exception is where it comes of a group that has ended; None where it does not."""
    if isinstance(error, StaleGroupError):
        return StaleGroupError(*error.args)
    is_torchs = isinstance(error, (RuntimeError, ValueError))
    if _Last.generation < 0 or not (is_torchs and any(sign in str(error) for sign in _SIGNS)):
        return None
    return StaleGroupError(
        f"this process group, or device mesh, was made for generation {_Last.generation} or "
        "before, and has ended: make it again with dist.new_group, or init_device_mesh"
    )
