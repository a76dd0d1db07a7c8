"""Forming one generation of the process group on placed engines."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from rankbook.cluster.channel import Call, Channel, everyone
from rankbook.cluster.placement import LOOPBACK, Placement
from rankbook.errors import ClusterError, RankbookError, RendezvousError, SessionError
from rankbook.models import GroupInfo, load
from rankbook.models.requests import Destroy, HostStore, Initialize, Reach
from rankbook.sessions.freeing import free

__all__ = ["LEAVE_TIMEOUT", "Terms", "form"]

LEAVE_TIMEOUT = 30.0
"""Seconds for engines to leave a group; ``destroy_global_state`` itself is bounded by less."""

_UNDO_TIMEOUT = 3.0
"""Seconds for engines to leave a group that did not come about."""

_MARGIN = 5.0
"""Seconds beyond the group's timeout in which the engines themselves say who is missing."""


@dataclass(frozen=True)
class Terms:
    """What a process group is to be like."""

    backend: str
    """As ``initialize_distributed`` takes it."""
    timeout_minutes: float = 1
    """Of the initialisation and of every collective."""
    check: bool = False
    """Whether every collective is compared across ranks before it runs."""


def form(
    channel: Channel,
    placement: Placement,
    terms: Terms,
    generation: int,
    directory: str,
) -> dict[int, GroupInfo]:
    """Have every placed engine join one new process group.

    Args:
        channel: To the engines.
        placement: Who becomes which rank.
        terms: What the group is to be like.
        generation: Its number; the ranks meet under a prefix of their own.
        directory: Private to this session, for the store of a group on one host.

    Returns:
        By rank, its place in the group.

    Raises:
        RankbookError: What the first engine to fail says. No engine is left in a group.
    """
    url, address = _meeting_place(channel, placement, generation, directory)
    call = channel.request(
        {
            place.engine: Initialize(
                terms.backend,
                terms.timeout_minutes,
                url,
                generation,
                place.rank,
                placement.world_size,
                place.local_rank,
                place.local_world_size,
                address,
                terms.check,
            )
            for place in placement.places
        }
    )
    try:
        _wait(channel, placement, call, terms.timeout_minutes * 60 + _MARGIN)
        _raise_for_failure(call)
    except BaseException:
        _undo(channel, placement, call)
        raise
    finally:
        channel.forget(call)
    return {p.rank: load(GroupInfo, call.values[p.engine]) for p in placement.places}


def _meeting_place(
    channel: Channel, placement: Placement, generation: int, directory: str
) -> tuple[str, str]:
    """Choose where the ranks meet: a file where they share a host, else a store on rank 0's.

    A file opens no port and outlives every rank. A store listens on one address of rank 0's host,
    the first one that all the others can connect to.
    """
    if placement.is_local:
        return f"file://{directory}/store-{generation}", LOOPBACK
    first = placement.engines[0]
    elsewhere = [p.engine for p in placement.places if p.host != placement.places[0].host]
    for address in placement.addresses:
        url: str = channel.ask(everyone([first], HostStore(address)), 30)[first]
        reached = channel.ask(everyone(elsewhere, Reach(url)), 30)
        if all(reached.values()):
            return url, address
    hosts = ", ".join(sorted({p.host for p in placement.places if p.engine in elsewhere}))
    raise ClusterError(
        f"No address of {placement.places[0].host} ({', '.join(placement.addresses)}) can be "
        f"reached from {hosts}: the hosts need a network between them without a firewall."
    )


def _wait(channel: Channel, placement: Placement, call: Call, timeout: float) -> None:
    """Wait for all engines, or for the first that fails: the others would wait for it in vain."""
    if channel.wait(call, timeout, until=lambda: bool(call.failures)):
        return
    rank_of = {p.engine: p.rank for p in placement.places}
    missing = sorted(rank_of[e] for e in call.pending)
    raise RendezvousError(
        f"Ranks {missing} of {placement.world_size} did not form the group within "
        f"{timeout:.0f} s: %dist_status shows what they do."
    )


def _raise_for_failure(call: Call) -> None:
    if any(failure.ename == "KeyboardInterrupt" for failure in call.failures.values()):
        raise SessionError("The initialisation was interrupted: %dist_init does it again.")
    Channel.raise_for_failure(call)


def _undo(channel: Channel, placement: Placement, call: Call) -> None:
    """Leave no half-made group behind, and nobody waiting for one."""
    with suppress(RankbookError):
        free(channel, call.pending, timeout=_UNDO_TIMEOUT)
    with suppress(RankbookError):
        channel.ask(everyone(placement.engines, Destroy()), _UNDO_TIMEOUT)
