"""Reading what torch says where it checks collectives (``TORCH_DISTRIBUTED_DEBUG=DETAIL``)."""

from __future__ import annotations

import re

from rankbook.dtypes import python_name
from rankbook.models import Collective

__all__ = ["fingerprint"]

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
