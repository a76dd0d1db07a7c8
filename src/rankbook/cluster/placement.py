"""Which engine becomes which rank: a pure function of what the engines report about themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from rankbook.errors import BackendError, ClusterError, DeviceError, InputError
from rankbook.words import how_to_replace

if TYPE_CHECKING:
    from rankbook.models import EngineFacts

__all__ = [
    "LOOPBACK",
    "NCCL_SHARES_FROM",
    "Place",
    "Placement",
    "check_backend",
    "check_numbers",
    "choose_backend",
    "place",
    "replace_engines",
]

LOOPBACK = "127.0.0.1"

NCCL_SHARES_FROM = (2, 30)
"""The first NCCL that lets several ranks share a GPU, with NCCL_MULTI_RANK_GPU_ENABLE=1."""


@dataclass(frozen=True)
class Place:
    """The place of one rank."""

    rank: int
    engine: int
    host: str
    local_rank: int
    local_world_size: int
    gpus: int
    """GPUs that the engine may use."""
    nccl: str = ""
    """The version of its NCCL; empty if it has none."""
    unusable_gpus: str = ""
    """Why its torch cannot use its host's GPUs; empty if it can, or there are none."""


@dataclass(frozen=True)
class Placement:
    """The place of every rank, by rank."""

    places: tuple[Place, ...]
    spare: tuple[int, ...]
    """Engines of the cluster that have no rank."""
    addresses: tuple[str, ...]
    """Addresses to try for rank 0's host, the likeliest first; only loopback if all are local."""

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return len(self.places)

    @cached_property
    def is_local(self) -> bool:
        """Whether all ranks share one host."""
        return len({p.host for p in self.places}) == 1

    @cached_property
    def engines(self) -> tuple[int, ...]:
        """Engine ids by rank."""
        return tuple(p.engine for p in self.places)

    def hosts_within(self, ranks: Collection[int]) -> dict[str, list[int]]:
        """The ranks of each host all of whose ranks are among ``ranks``."""
        by_host: dict[str, list[int]] = {}
        for one in self.places:
            by_host.setdefault(one.host, []).append(one.rank)
        return {host: own for host, own in by_host.items() if set(own) <= set(ranks)}


def place(
    facts: Sequence[EngineFacts], world_size: int | None = None, before: Sequence[int] = ()
) -> Placement:
    """Give ranks to engines, host by host, so that the ranks of a host are neighbours.

    Args:
        facts: What every engine of the cluster reports.
        world_size: Number of ranks; None takes every engine.
        before: Engines that were ranks before, by rank: they come first, in that order.

    Returns:
        The placement, with hosts in the order of their first engine.

    Raises:
        InputError: There are fewer engines than ranks.
    """
    world_size = len(facts) if world_size is None else world_size
    if world_size > len(facts):
        raise InputError(
            f"{world_size} ranks need {world_size} engines and the cluster has {len(facts)}: "
            f"ask for -n {len(facts)} or fewer."
        )
    by_host: dict[str, list[EngineFacts]] = {}
    turn = {engine: rank for rank, engine in enumerate(before)}
    for fact in sorted(facts, key=lambda f: (turn.get(f.engine, len(turn)), f.engine)):
        by_host.setdefault(fact.host, []).append(fact)
    ordered = [fact for group in by_host.values() for fact in group]
    chosen, spare = ordered[:world_size], ordered[world_size:]
    sizes = {host: sum(f.host == host for f in chosen) for host in by_host}
    seen: dict[str, int] = {}
    places = []
    for rank, fact in enumerate(chosen):
        local_rank = seen.get(fact.host, 0)
        seen[fact.host] = local_rank + 1
        places.append(
            Place(
                rank,
                fact.engine,
                fact.host,
                local_rank,
                sizes[fact.host],
                len(fact.gpus),
                fact.nccl,
                fact.unusable_gpus,
            )
        )
    local = len(seen) == 1
    return Placement(
        tuple(places),
        tuple(f.engine for f in spare),
        (LOOPBACK,) if local else chosen[0].addresses,
    )


def replace_engines(
    placement: Placement, ranks: Collection[int], facts: Sequence[EngineFacts]
) -> Placement:
    """Give the places of some ranks to other engines; the others keep theirs.

    A new engine is on the same host, with the same local rank, and so the same GPU.

    Args:
        placement: The present places of the ranks.
        ranks: Those whose engines leave.
        facts: What every living engine reports.

    Raises:
        ClusterError: No engine on a host is free to become the rank.
    """
    places = list(placement.places)
    free = {f.engine: f.host for f in facts if f.engine not in placement.engines}
    for rank in sorted(ranks):
        host = places[rank].host
        here = [engine for engine in sorted(free) if free[engine] == host]
        if not here:
            raise ClusterError(
                f"No engine on {host} can become rank {rank}: start one there, "
                f"then {how_to_replace([rank])}."
            )
        del free[here[0]]
        places[rank] = replace(places[rank], engine=here[0])
    return replace(placement, places=tuple(places), spare=tuple(sorted(free)))


def check_numbers(nproc: int | None, timeout_minutes: float | None) -> None:
    """Refuse numbers that make no group; None, the default, passes.

    Raises:
        InputError: There would be no rank, or no time to initialise.
    """
    if nproc is not None and nproc < 1:
        raise InputError(f"A group needs at least 1 rank, not {nproc}.")
    if timeout_minutes is not None and not 0 < timeout_minutes < math.inf:
        raise InputError(
            f"The timeout must be positive, for example 1, and not {timeout_minutes:g}."
        )


def check_backend(asked: str) -> set[str]:
    """Read a backend as torch writes it: ``gloo``, or ``cpu:gloo,cuda:nccl``.

    Returns:
        The names in it.

    Raises:
        BackendError: torch does not know one of them.
    """
    names = {part.rpartition(":")[2] for part in asked.lower().split(",")}
    if unknown := sorted(names - _BACKENDS):
        raise BackendError(
            f"There is no backend {unknown[0]!r}: use one of {', '.join(sorted(_BACKENDS))}."
        )
    return names


def choose_backend(placement: Placement, asked: str | None, *, share_gpus: bool = False) -> str:
    """Decide on the backend, and refuse one that does not fit this placement.

    Args:
        placement: The places of the ranks.
        asked: The requested backend; None is the default: ``nccl`` where it fits, else ``gloo``.
        share_gpus: Whether several ranks of a host may share a GPU.

    Raises:
        BackendError: torch does not know the name, or some rank's was built without NCCL.
        DeviceError: NCCL is requested, and some rank neither has its own GPU nor can share one.
    """
    if share_gpus:
        return _choose_where_gpus_are_shared(placement, asked)
    without = [p for p in placement.places if p.local_rank >= p.gpus]
    if asked is None:
        return "nccl" if all(p.nccl for p in placement.places) and not without else "gloo"
    if "nccl" in check_backend(asked):
        _check_nccl(placement, without)
    return asked.lower()


def _check_nccl(placement: Placement, without: Sequence[Place]) -> None:
    """Refuse NCCL where a rank has no GPU of its own, or no NCCL."""
    if without:
        first = without[0]
        if not any(p.gpus for p in placement.places):
            if blocked := next((p for p in placement.places if p.unusable_gpus), None):
                raise DeviceError(
                    f"nccl needs GPUs, and torch can use none of those on {blocked.host}: "
                    f"{blocked.unusable_gpus}. Until that is repaired, run %dist_init gloo."
                )
            hosts = ", ".join(sorted({p.host for p in placement.places}))
            raise DeviceError(f"nccl needs GPUs and {hosts} shows none: run %dist_init gloo.")
        fewer = f"use -n {first.gpus}, or " if first.gpus and placement.is_local else ""
        share = "add --share-gpus, or " if all(p.gpus for p in placement.places) else ""
        raise DeviceError(
            f"nccl needs a GPU per rank: {first.host} has {first.gpus} for "
            f"{first.local_world_size} ranks; {fewer}{share}run %dist_init gloo."
        )
    if lacking := next((p for p in placement.places if not p.nccl), None):
        raise BackendError(
            f"torch on {lacking.host} was built without NCCL: run %dist_init gloo, whose "
            "collectives take CUDA tensors, too."
        )


def _choose_where_gpus_are_shared(placement: Placement, asked: str | None) -> str:
    """Refuse to share GPUs with an old NCCL; gloo takes tensors of any GPU."""
    names = set() if asked is None else check_backend(asked)
    if bare := next((p for p in placement.places if not p.gpus), None):
        raise DeviceError(
            f"--share-gpus needs a GPU on every host, and {bare.host} shows none: leave it out."
        )
    shared = [p for p in placement.places if p.local_world_size > p.gpus]
    old = next((p for p in shared if _version(p.nccl) < NCCL_SHARES_FROM), None)
    if asked is None:
        return "nccl" if old is None and all(p.nccl for p in placement.places) else "gloo"
    if "nccl" in names and old is not None:
        needed, there = ".".join(map(str, NCCL_SHARES_FROM)), old.nccl or "none"
        raise DeviceError(
            f"Several ranks on one GPU need NCCL {needed} or later, and {old.host} has {there}: "
            "run %dist_init gloo --share-gpus, whose collectives take CUDA tensors, too."
        )
    return asked.lower()


def _version(text: str) -> tuple[int, ...]:
    """``2.30.7`` as comparable numbers; empty if it is not a version."""
    return tuple(map(int, re.findall(r"\d+", text)))


_BACKENDS = frozenset({"gloo", "nccl", "mpi", "ucc", "xccl"})
