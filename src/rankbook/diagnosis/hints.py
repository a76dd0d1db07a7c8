"""What a verdict often means, and the remedy, in a line."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from rankbook.diagnosis.calls import elements, family, group, is_p2p, slot
from rankbook.diagnosis.clashes import Clash
from rankbook.diagnosis.meetings import SERVER
from rankbook.diagnosis.sentences import Case
from rankbook.diagnosis.wording import Words
from rankbook.models import Collective, Look
from rankbook.models.calls import OPENS
from rankbook.words import agree

__all__ = [
    "DESTROYED",
    "KEY",
    "LEFT_OUT",
    "mismatch",
    "missing",
    "raised",
    "slow",
    "strangers",
    "unproven",
]

_SLOW = (
    "Often it is work that only some ranks do (saving, logging or downloading below "
    "`if rank == 0`), or uneven data."
)

_STILL = 2.0
"""Seconds without computing after which a rank counts as one that waits for something."""

LEFT_OUT = (
    "What a rank expects (output_split_sizes) must be what the others send it "
    "(input_split_sizes): exchange the sizes first."
)

DESTROYED = (
    "destroy_process_group ends the group for every rank: call it on all of them, after their last "
    "collective."
)

_IN_COMPILED = re.compile(r": (async )?def \w+\(")
"""A line at which a call of compiled code stands, whatever the line is that called."""

_UNPROVEN = "This is likely, not proven: the ranks are freed on request only, by %dist_interrupt."

_BRANCH = (
    "Often it is a collective in a branch that only some ranks take (`if rank == 0`): every rank "
    "of the group must call it."
)
_UNUSED = (
    "If the line reduces gradients, it may be a layer that was not used there: every parameter "
    "must get a gradient on every rank."
)
_DESTRUCTOR = (
    "A __del__ runs when Python destroys the object: at another moment on each rank, maybe long "
    "after the exception that kept it alive. Call no collective there."
)
KEY = "The key must be set on some rank, in the same store and below the same prefix."
_CHECK = "%dist_init --check says so before the call."

_JOINED = {
    "init_process_group": "Every rank must call init_process_group.",
    "new_group": "Every rank of the world must call new_group, with the same members, "
    "including ranks that will not be in the group.",
    "split_group": "Every rank of the group must call split_group.",
}


def missing(words: Words, case: Case) -> str:
    """What it often is that ranks never called something."""
    looks = words.looks
    if not all(looks[rank].line for rank in case.culprits):
        return (
            f"The cell was not given to {words.ranks(case.culprits)}: run it on every rank of the "
            "group, or use a group of the ranks that run it."
        )
    if case.call.in_destructor or case.call.entries:
        of_store = SERVER if case.call.op == OPENS else KEY
        return _DESTRUCTOR if case.call.in_destructor else of_store
    op = family(case.call.op)
    if op in _JOINED:
        return _JOINED[op]
    if is_p2p(case.call):
        return "Every send needs a recv, with the other's rank, the same group and the same tag."
    if _ran_out(looks, case):
        shards = (
            f"Often it is uneven shards: {words.ranks(case.culprits)} had fewer batches. Drop the "
            "last batch (DistributedSampler(drop_last=True)), or wrap the loop in "
            "torch.distributed.algorithms.Join."
        )
        return f"{shards} {_UNUSED}" if _of_several_tensors(looks, case) else shards
    return _BRANCH


def strangers(size: int) -> str:
    """What it often is that ranks make a group with others that do not exist."""
    return f"world_size must be {size}, the number of ranks, unless other processes join the group."


def _ran_out(looks: Mapping[int, Look], case: Case) -> bool:
    """Whether the missing ranks called this last, too, at the same line: one turn of a loop fewer.

    The tensor does not count, for each turn may reduce several. Nor does a barrier: who calls that
    in a loop over batches? But many a function that only some ranks call ends with one.
    """
    lasts = [_last(looks[rank], group(case.call)) for rank in case.culprits]
    return family(case.call.op) != "barrier" and all(
        last is not None and _is_same_line(last, case.call) for last in lasts
    )


def _of_several_tensors(looks: Mapping[int, Look], case: Case) -> bool:
    """Whether the line of a call reduces tensors of different sizes in turn, as for gradients."""
    sizes = {
        elements(call)
        for rank in case.waiters
        for call in (*looks[rank].recent, case.call)
        if _is_same_line(call, case.call)
    }
    return len(sizes) > 1


def _is_same_line(one: Collective, other: Collective) -> bool:
    return (
        family(one.op) == family(other.op)
        and bool(one.line)
        and not _IN_COMPILED.search(one.line)
        and one.line.partition(", called")[0] == other.line.partition(", called")[0]
    )


def _last(look: Look, name: str) -> Collective | None:
    """The last collective that a rank has called of a group."""
    calls = [call for call in look.recent if group(call) == name and slot(call)]
    return calls[-1] if calls else None


def raised(calls: Iterable[Collective]) -> str:
    """What it often is that ranks wait in calls although they have raised."""
    return _DESTRUCTOR if any(call.in_destructor for call in calls) else ""


def slow(words: Words, case: Case) -> str:
    """What it often is that ranks still run while others wait for them."""
    ranks = case.culprits
    still = min(words.looks[rank].still for rank in ranks)
    if still < _STILL:
        return _SLOW
    have = "had" if words.is_past else agree(ranks, "has", "have")
    hold, go_on = ("held", "could go on") if words.is_past else ("hold", "goes on")
    return (
        f"{agree(ranks, 'It', 'They')} {have} not computed for {still:.0f} s, as in a sleep, or a "
        f"wait for a lock, a file or another process. If ranks in {words.call(case.call)} {hold} "
        f"that, no rank {go_on} by itself."
    )


def mismatch(found: Clash) -> str:
    """What it often is that calls do not match."""
    calls = list(found.calls.values())
    families = {family(call.op) for call in calls}
    if any(call.in_destructor for call in calls):
        return _DESTRUCTOR
    if not found.sorts:
        return _of_a_circle(calls, families)
    if len(families) > 1:
        return "Often ranks take different branches, or call collectives in different orders."
    if len({call.peer for call in calls}) > 1:
        return "The root (src or dst) is a global rank, and must be the same on every rank."
    if len({elements(call) for call in calls if call.sizes}) > 1:
        return f"Often it is a last batch that is smaller: drop it, or pad it. {_CHECK}"
    return f"Tensors must have the same dtype on every rank. {_CHECK}"


def _of_a_circle(calls: Collection[Collective], families: set[str]) -> str:
    if families == {"send", "recv"} and len({call.tag for call in calls}) > 1:
        return "A recv takes only what is sent with its tag: give both ends the same."
    if families <= {"send", "recv"}:
        return (
            "Often every rank receives (or sends) first: let odd ranks send first, or use "
            "batch_isend_irecv."
        )
    return (
        "Often two groups or two threads are used in different orders: every rank must call "
        "collectives in the same order."
    )


def unproven(words: Words, stuck: Iterable[int]) -> str:
    """Why nothing is freed although ranks wait in vain, as far as can be seen."""
    looks = words.looks
    limited = [rank for rank in stuck if looks[rank].may_end and looks[rank].gives_up is not None]
    if not limited:
        return _UNPROVEN
    seconds = max(looks[rank].gives_up or 0.0 for rank in limited)
    if words.is_past:
        return f"The wait had a timeout: it would have ended after {seconds:.0f} s more."
    return (
        f"{agree(limited, 'Its wait has', 'Their waits have')} a timeout: "
        f"{words.ranks_do(limited, 'gives', 'give')} up in {seconds:.0f} s; %dist_interrupt frees "
        "the ranks before that."
    )
