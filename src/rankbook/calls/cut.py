"""Receives from any rank that a former generation has left: what waits for one is told so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rankbook.calls.ledger import Ledger
from rankbook.calls.records import Record, is_from_anyone
from rankbook.errors import StaleGroupError

__all__ = ["refuse"]

_BRIEFLY = timedelta(milliseconds=50)


def refuse(ledger: Ledger, call: Callable[..., Any], work: Any) -> None:
    """Raise where a handle is of such a call that receives from any rank.

    Gloo wakes nobody who waits for that when the connections end.

    Args:
        ledger: The account.
        call: Torch's own wait, which is successful if the message had come.
        work: The handle, of which the account holds nothing.
    """
    record = ledger.handles.former(work)
    if record is None or record.group.made_in == ledger.generation or not is_from_anyone(record):
        return
    try:
        call(work, _BRIEFLY)
    except RuntimeError:
        raise StaleGroupError(_why(record)) from None


def _why(record: Record) -> str:
    spot = record.site.cell or record.site.spot
    place = f" ({spot.place})" if spot is not None else ""
    called = f"this {record.site.op} was called in generation {record.group.made_in}{place}"
    return f"{called}, and was cut when that ended: call it again on all of its ranks"
