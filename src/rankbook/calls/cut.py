"""Calls that a former generation has cut: what waits for one of them is told so, in one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rankbook.calls.ledger import Ledger
from rankbook.calls.records import Record, is_from_anyone
from rankbook.errors import StaleGroupError

__all__ = ["check", "explain", "is_of_function", "is_ours", "of_results", "refuse", "refuse_again"]

_BRIEFLY = timedelta(milliseconds=50)

_OF_CALLBACKS = "when running the callback"
"""torch's words for an exception in a function that was given to ``then``."""
_OF_CALLS = ("gloo", "NCCL", StaleGroupError.__name__)
"""Words that such an exception has, too, if it came of the call."""


def is_ours(code: Any) -> bool:
    """Whether code belongs to one of these functions."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def refuse(ledger: Ledger, call: Callable[..., Any], work: Any) -> None:
    """Raise where a handle is of a cut call that receives from any rank.

    Gloo wakes nobody who waits for that when the connections end.

    Args:
        ledger: The account.
        call: Torch's own wait, which is successful if the message had come.
        work: The handle, of which the account holds nothing.
    """
    record = ledger.handles.former(work)
    if record is None or not (is_from_anyone(record) and _is_former(ledger, record)):
        return
    try:
        call(work, _BRIEFLY)
    except RuntimeError:
        raise StaleGroupError(_why(record)) from None


def refuse_again(ledger: Ledger, tensor: Any) -> None:
    """Raise where a tensor is of a cut functional call, of which torch tells the first wait alone.

    Args:
        ledger: The account.
        tensor: What is waited for, whose call the account has given out.
    """
    record = ledger.handles.former(tensor)
    if record is not None:
        raise StaleGroupError(_why(record))


def check(ledger: Ledger, call: Callable[..., Any], work: Any) -> None:
    """Raise where a handle is of a cut call, though it says that it is done, and gives a result.

    Args:
        ledger: The account.
        call: Torch's own wait.
        work: The handle.
    """
    record = ledger.handles.former(work)
    if record is None or not _is_former(ledger, record) or not work.is_completed():
        return
    try:
        call(work)
    except RuntimeError as error:
        explain(ledger, record, error)


def of_results(
    ledger: Ledger, wait: Callable[..., Any], call: Callable[..., Any]
) -> Callable[..., Any]:
    """Make the replacement of ``Work.result``, which is a part of a sum where the call was cut.

    Args:
        ledger: The account.
        wait: Torch's own wait.
        call: Torch's own ``result``.
    """

    def result(work: Any) -> Any:
        __tracebackhide__ = True  # in a debugger
        check(ledger, wait, work)
        return call(work)

    return result


def explain(ledger: Ledger, record: Record | None, error: RuntimeError) -> None:
    """Raise, instead of what torch raised in a wait, what has become of a call that was cut.

    Args:
        ledger: The account.
        record: The call that was waited for; None if it is not known.
        error: What torch raised.

    Raises:
        StaleGroupError: The call is of a former generation.
    """
    if record is None or not _is_former(ledger, record):
        return
    if not is_of_function(error):
        raise StaleGroupError(_why(record)) from None


def is_of_function(error: RuntimeError) -> bool:
    """Whether a future failed for the function that was given to ``then``, not for its call."""
    text = str(error)
    return _OF_CALLBACKS in text and not any(word in text for word in _OF_CALLS)


def _is_former(ledger: Ledger, record: Record) -> bool:
    return record.group.made_in != ledger.generation


def _why(record: Record) -> str:
    spot = record.site.cell or record.site.spot
    place = f" ({spot.place})" if spot is not None else ""
    called = f"this {record.site.op} was called in generation {record.group.made_in}{place}"
    return f"{called}, and was cut when that ended: call it again on all of its ranks"
