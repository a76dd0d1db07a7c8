"""When calls on several ranks are one collective: their names, numbers, tensors and roots."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache

from rankbook.models import Collective

__all__ = [
    "COMPLEMENT",
    "HANDLE",
    "alike",
    "classes",
    "elements",
    "family",
    "group",
    "is_handle",
    "is_p2p",
    "is_vague",
    "name",
    "slot",
]

HANDLE = "wait"
"""The op of a wait for something asynchronous of which no more is known."""

COMPLEMENT = {"send": "recv", "recv": "send"}

_SPACED = {
    "allreduce": "all_reduce",
    "allgather": "all_gather",
    "alltoall": "all_to_all",
    "reducescatter": "reduce_scatter",
}

_NAMES = {
    "all_gather_base": "all_gather_into_tensor",
    "all_reduce_barrier": "barrier",  # what NCCL makes of one
    "all_to_all_base": "all_to_all_single",
    "batch_isend_irecv": HANDLE,
    "broadcast_oop": "broadcast",
    "irecv": "recv",
    "isend": "send",
    "recvanysource": "recv",
    "recv_any_source": "recv",
    "reduce_oop": "reduce",
    "reduce_scatter_base": "reduce_scatter_tensor",
    "sparse_all_reduce": "all_reduce",
    "wait_tensor": HANDLE,
}
"""Function names by those that flight recorders and backends use."""

_VARIANT = re.compile(r"(_(into_tensor|tensor|single|coalesced|v))+$")
_OBJECT_P2P = {"send_object_list": "send", "recv_object_list": "recv"}

_OF_ITS_GROUP = {
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "monitored_barrier",
    "reduce",
    "reduce_scatter",
    "scatter",
    "scatter_object_list",
    "shutdown",  # of RPC, which waits for every worker
}
_ROOTED = {"broadcast", "reduce", "scatter", "gather"}
_SAME_SIZE = {"all_reduce", "broadcast", "reduce"}
_SAME_SIZE_ON_GLOO = _SAME_SIZE | {"all_gather", "reduce_scatter"}


@cache
def name(op: str) -> str:
    """The function that the user calls: ``all_reduce`` of ``gloo:all_reduce`` or ``allreduce``."""
    plain = op.rpartition(":")[2].partition(" ")[0].strip("_").lower()
    for squeezed, spaced in _SPACED.items():
        plain = plain.replace(squeezed, spaced)
    return _NAMES.get(plain, plain)


@cache
def family(op: str) -> str:
    """The same for all functions that may meet: ``all_gather`` of ``all_gather_into_tensor``."""
    plain = name(op)
    return _OBJECT_P2P.get(plain, _VARIANT.sub("", plain))


def is_handle(call: Collective) -> bool:
    """Whether it is a wait for something of which no more is known."""
    return family(call.op) == HANDLE


def is_p2p(call: Collective) -> bool:
    """Whether it concerns two ranks of its group only."""
    return family(call.op) in COMPLEMENT


def is_vague(call: Collective) -> bool:
    """Whether it is not known which ranks it concerns.

    Besides handles these are functions like ``new_group`` or a pipeline's ``step``, where what is
    waited for inside is not recorded.
    """
    is_known = call.makes or is_p2p(call) or slot(call) is not None
    return not is_known and family(call.op) not in _OF_ITS_GROUP


def group(call: Collective) -> str:
    """Name of its group; empty for the world's."""
    return "" if call.group == "0" else call.group


def slot(call: Collective) -> tuple[str, int] | None:
    """Group and number, which a collective has alone; None if it is not numbered.

    Recorders number sends and receives apart from collectives, and only on the ranks concerned.
    """
    if call.seq is None or is_p2p(call) or is_handle(call):
        return None
    return group(call), call.seq


def elements(call: Collective) -> int:
    """Number of elements of all its tensors."""
    return sum(math.prod(shape) for shape in call.sizes)


def alike(one: Collective, other: Collective, *, on_gloo: bool = False) -> bool:
    """Whether two calls can be the same collective, as far as is known.

    Only what torch asks for counts: ranks may reduce tensors of different shapes if these have
    equally many elements, and gather, scatter or exchange different ones.

    Args:
        one: A call.
        other: Another rank's.
        on_gloo: Whether it is certain that what gloo asks for counts, too.
    """
    kind = family(one.op)
    if kind != family(other.op):
        return False
    if one.dtypes and other.dtypes and set(one.dtypes) != set(other.dtypes):
        return False
    if kind in _ROOTED and None not in (one.peer, other.peer) and one.peer != other.peer:
        return False
    asked = _SAME_SIZE_ON_GLOO if on_gloo else _SAME_SIZE
    sized = kind in asked and one.sizes and other.sizes
    return not sized or elements(one) == elements(other)


def classes(calls: Mapping[int, Collective], *, on_gloo: bool = False) -> list[tuple[int, ...]]:
    """Sort ranks by what they call: those whose calls are alike together, lowest ranks first."""
    found: list[list[int]] = []
    for rank, call in sorted(calls.items()):
        for same in found:
            # With all of them: one of which little is known is like any other.
            if all(alike(calls[other], call, on_gloo=on_gloo) for other in same):
                same.append(rank)
                break
        else:
            found.append([rank])
    return [tuple(same) for same in found]
