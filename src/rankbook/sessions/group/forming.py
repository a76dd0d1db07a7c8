"""Forming one generation of the process group on the ranks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from rankbook.cluster.placement import Place, Placement
from rankbook.errors import RankbookError, RendezvousError, SessionError
from rankbook.models import GroupInfo, load
from rankbook.models.requests import Destroy, Initialize
from rankbook.sessions.members import Members, RankCall
from rankbook.sessions.members.freeing import free
from rankbook.words import in_words, sentence_start

__all__ = ["Terms", "form"]


@dataclass(frozen=True)
class Terms:
    """The terms of a process group."""

    backend: str
    """As ``initialize_distributed`` takes it."""
    timeout_minutes: float = 1
    """Timeout of the initialisation and of every collective."""
    check: bool = False
    """Whether every collective is compared across ranks before it runs."""
    clean: bool = False
    """Whether objects of earlier groups are forgotten."""
    share_gpus: bool = False
    """Whether several ranks of a host may share a GPU."""
    whole: int = -1
    """The latest generation that all ranks have joined; 0: none yet, -1: not known."""


def form(
    members: Members, terms: Terms, generation: int, url: str, address: str
) -> dict[int, GroupInfo]:
    """Have every rank join one new process group.

    Args:
        members: The ranks, already placed.
        terms: The terms of the group.
        generation: Its number, which gives the rendezvous its own prefix.
        url: Where the ranks meet.
        address: An address of rank 0's host that every rank reaches.

    Returns:
        By rank, its place in the group.

    Raises:
        RankbookError: The error of the first rank that failed. No rank is left in a group.
    """
    placement = members.placed()

    def request(place: Place) -> Initialize:
        return Initialize(
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
            terms.clean,
            terms.share_gpus,
            terms.whole,
        )

    requests = {place.rank: request(place) for place in placement.places}
    call = members.all_of(requests).request(requests)
    try:
        _wait(call, placement, terms.timeout_minutes * 60 + members.timing.form_margin)
        _raise_for_failure(call)
    except BaseException:
        _undo(members, call)
        raise
    finally:
        call.forget()
    return {rank: load(GroupInfo, call.values[rank]) for rank in range(placement.world_size)}


def _wait(call: RankCall, placement: Placement, timeout: float) -> None:
    """Wait for all ranks, or for the first that fails: the others would wait for it in vain."""
    if not call.wait(timeout, until=lambda: bool(call.failures)):
        raise RendezvousError(
            f"{sentence_start(in_words(call.pending))} of {placement.world_size} did not form the "
            f"group within {timeout:.0f} s: %dist_status shows what they do."
        )


def _raise_for_failure(call: RankCall) -> None:
    if any(failure.ename == "KeyboardInterrupt" for failure in call.failures.values()):
        raise SessionError("The initialisation was interrupted: %dist_init does it again.")
    call.raise_for_failure()


def _undo(members: Members, call: RankCall) -> None:
    """Leave no half-made group behind, and no rank waiting for one."""
    with suppress(RankbookError):  # the failure to form is reported
        pending = call.pending
        free(members.ranks(pending), pending, timeout=members.timing.undo)
    with suppress(RankbookError):  # the failure to form is reported
        members.ranks().ask(Destroy(), members.timing.undo)
