"""Reading what torch says where it checks collectives (``TORCH_DISTRIBUTED_DEBUG=DETAIL``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rankbook.diagnosis.calls import family
from rankbook.diagnosis.clashes import Clash, mismatch
from rankbook.diagnosis.wording import Words, grouped
from rankbook.dtypes import python_name
from rankbook.models import Collective, Diagnosis, Look

__all__ = ["fingerprint", "refused"]

_OWN = re.compile(
    r"Rank \d+ is running collective: CollectiveFingerPrint\("
    r"SequenceNumber=(\d+),?\s*OpType=(\w+)"
    r"(?:, TensorShape=\[([\d, ]*)\], TensorDtypes=(\w+))?"
)


def fingerprint(message: str) -> Collective | None:
    """What the rank that raised a message was about to call; None if it is of another kind.

    Args:
        message: Of the RuntimeError that torch raises on each rank of a mismatch.
    """
    match = _OWN.search(message)
    if match is None:
        return None
    shape = tuple(int(length) for length in (match[3] or "").split(",") if length.strip())
    return Collective(
        match[2].lower(),
        seq=int(match[1]),
        sizes=(shape,) if match[4] else (),
        dtypes=(python_name(match[4]),) if match[4] else (),
    )


def refused(calls: Mapping[int, Collective], lines: Mapping[int, str]) -> Diagnosis | None:
    """Say how calls differ that torch has refused.

    Args:
        calls: By rank, what it was about to call.
        lines: By rank, where.

    Returns:
        A verdict of the kind ``mismatch``; None if they are the same as far as is known. Torch
        wants the very same shapes here, also in collectives that could do with different ones.
    """
    looks = {r: Look("waiting", lines[r], waiting=call) for r, call in calls.items()}
    words = Words(looks)
    sorts = grouped(calls, lambda r: (family(calls[r].op), calls[r].sizes, calls[r].dtypes))
    if len(sorts) == 1:
        return None
    most = max(sorts, key=len)
    odd = set(calls) - set(most) if 2 * len(most) > len(calls) else set(calls)
    culprits = tuple(sorted(odd))
    return Diagnosis(
        "mismatch",
        culprits,
        mismatch(words, Clash(calls, sorts, culprits)),
        {rank: words.does(rank).replace("waits in", "called", 1) for rank in sorted(calls)},
    )
