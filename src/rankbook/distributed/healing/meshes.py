"""Device meshes, which know their groups by name, and what DTensor has worked out for them.

DTensor takes equal meshes for the same: what it works out for one, it uses for the other. So a
tensor may be on a mesh that its maker has long replaced by an equal one, on each rank alike. Of
that a replaced rank knows nothing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import torch

__all__ = ["clear_caches", "end", "has_ended", "is_whole", "origin", "unify"]

_ENDED = re.compile(r"ended \[(.*?)\] ")
"""What a mesh has before the name of a group that has ended, so that it finds no other by it."""


def end(meshes: Sequence[Any], names: Collection[str], origin: str) -> None:
    """Have meshes find no group by the names of those that have ended.

    Args:
        meshes: Some of them.
        names: Of those groups.
        origin: Where they were made, in words.
    """
    for mesh in meshes:
        held = _names(mesh)
        held[:] = [f"ended [{origin}] {name}" if name in names else name for name in held]


def origin(text: str) -> str:
    """Where a mesh was made of whose group torch complains that it has ended; empty if of none."""
    found = _ENDED.search(text)
    return found[1] if found else ""


def has_ended(mesh: Any) -> bool:
    """Whether a mesh finds no group any more."""
    return any(map(_ENDED.match, _names(mesh)))


def is_whole(mesh: Any, names: Collection[str]) -> bool:
    """Whether all groups of a mesh are among those with these names."""
    return set(_names(mesh)) <= set(names)


def unify(meshes: Sequence[Any], names: Collection[str]) -> None:
    """Have equal meshes use the same groups: those of the newest, whose names are the highest.

    Args:
        meshes: Some of them.
        names: Of the groups that there are.
    """
    newest: dict[Any, list[str]] = {}
    whole = [mesh for mesh in meshes if _names(mesh) and is_whole(mesh, names)]
    for mesh in whole:
        newest[mesh] = max(newest.get(mesh, []), _names(mesh), key=_age)
    for mesh in whole:
        _names(mesh)[:] = newest[mesh]


def clear_caches() -> None:
    """Have DTensor forget what it has worked out: it has the names of groups in it."""
    for name in ("_dispatch", "_sharding_prop", "_redistribute", "_collective_utils"):
        module = sys.modules.get(f"torch.distributed.tensor.{name}")
        for one in list(vars(module).values()) if module else ():
            if hasattr(one, "cache_clear") and not isinstance(one, type):
                one.cache_clear()
    # To import it takes a second; torch.distributed.tensor.debug, which has a function for this,
    # imports Inductor, and takes several.
    if (tensor := sys.modules.get("torch.distributed.tensor")) is not None:
        with suppress(AttributeError):  # it is being imported, or another torch keeps no cache here
            _clear_cache(tensor.DTensor._op_dispatcher.sharding_propagator)


def _clear_cache(propagator: Any) -> None:
    """Empty the cache of DTensor's propagator, in Python and, where torch has one, in C++."""
    cached = propagator.propagate_op_sharding
    if hasattr(cached, "cache_clear"):  # torch >= 2.11
        cached.cache_clear()
    else:
        propagator.propagate_op_sharding = type(cached)(propagator.propagate_op_sharding_non_cached)
    if (clear := getattr(torch._C, "_clear_DTensor_sharding_propagator_cache", None)) is not None:
        clear()


def _names(mesh: Any) -> list[str]:
    held: list[str] = getattr(mesh, "_dim_group_names", [])
    return held


def _age(names: Sequence[str]) -> list[tuple[int, str]]:
    return [(len(name), name) for name in names]
