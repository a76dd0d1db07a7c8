"""Device meshes, which know their groups by name, and DTensor's caches for them.

DTensor treats equal meshes as the same: what it computes for one, it uses for another. So a tensor
may be on a mesh that has since been replaced by an equal one, on all ranks in the same way. A
replaced rank does not know that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import torch

__all__ = ["clear_caches", "end", "has_ended", "is_whole", "origin", "origin_of", "unify"]

_ENDED = re.compile(r"ended \[(.*?)\] ")
"""Prefix of an ended group's name in a mesh, so that the name leads to no other group."""


def end(meshes: Sequence[Any], names: Collection[str], origin: str) -> None:
    """Stop meshes from finding groups by the names of groups that have ended.

    Args:
        meshes: Some meshes.
        names: The names of those groups.
        origin: Where they were made, in words.
    """
    for mesh in meshes:
        held = _names(mesh)
        held[:] = [f"ended [{origin}] {name}" if name in names else name for name in held]


def origin(text: str) -> str:
    """Where the mesh was made that a torch message is about; empty if it is about none."""
    found = _ENDED.search(text)
    return found[1] if found else ""


def origin_of(mesh: Any) -> str:
    """Where a mesh was made of which a group has ended; empty for any other."""
    return next(filter(None, map(origin, _names(mesh))), "")


def has_ended(mesh: Any) -> bool:
    """Whether any group of a mesh has ended."""
    return bool(origin_of(mesh))


def is_whole(mesh: Any, names: Collection[str]) -> bool:
    """Whether all groups of a mesh are among those with these names."""
    return set(_names(mesh)) <= set(names)


def unify(meshes: Sequence[Any], names: Collection[str]) -> None:
    """Have equal meshes use the same groups: the newest mesh's, which have the highest names.

    Args:
        meshes: Some meshes.
        names: The names of the present groups.
    """
    newest: dict[Any, list[str]] = {}
    whole = [mesh for mesh in meshes if _names(mesh) and is_whole(mesh, names)]
    for mesh in whole:
        newest[mesh] = max(newest.get(mesh, []), _names(mesh), key=_age)
    for mesh in whole:
        _names(mesh)[:] = newest[mesh]


def clear_caches() -> None:
    """Empty DTensor's caches, which contain names of groups."""
    for name in ("_dispatch", "_sharding_prop", "_redistribute", "_collective_utils"):
        module = sys.modules.get(f"torch.distributed.tensor.{name}")
        for one in list(vars(module).values()) if module else ():
            if hasattr(one, "cache_clear") and not isinstance(one, type):
                one.cache_clear()
    # Importing it takes a second; torch.distributed.tensor.debug, which has a function for this,
    # imports Inductor and takes several.
    if (tensor := sys.modules.get("torch.distributed.tensor")) is not None:
        with suppress(AttributeError):  # it is being imported, or this torch has no cache here
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
