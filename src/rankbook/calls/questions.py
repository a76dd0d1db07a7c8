"""Seeing code that polls: that asks again and again whether a call is done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch.distributed.distributed_c10d as c10d
from torch._C import Future

from rankbook.calls.cut import check
from rankbook.calls.ledger import Ledger
from rankbook.calls.places import is_of_rankbook
from rankbook.calls.records import is_open

__all__ = ["is_ours", "of_questions"]

_WAIT, _COMPLETED = (vars(c10d.Work)[name] for name in ("wait", "is_completed"))


def is_ours(code: Any) -> bool:
    """Whether code belongs to one of our replacements of torch functions."""
    return code.co_filename == __file__  # type: ignore[no-any-return]


def of_questions(ledger: Ledger, original: Any) -> Callable[..., Any]:
    """Make the replacement of a function that answers at once whether a call is done."""
    call = original.__func__
    handles = ledger.handles

    @wraps(call)
    def ask(handle: Any) -> Any:
        __tracebackhide__ = True
        answer, frame = call(handle), sys._getframe(1)
        if is_of_rankbook(frame.f_code):
            return answer
        is_future = isinstance(handle, Future)
        record = (handles.record_of_future if is_future else handles.record_of)(handle)
        if record is None and original is _COMPLETED:
            check(ledger, _WAIT.__func__, handle)
        if record is not None and is_open(record):
            ledger.asked(record, frame)
        elif record is not None and not record.stream_ordered:
            # Other questions of the thread count from here on: it may have left its loop.
            ledger.ended(record)
        return answer

    return ask
