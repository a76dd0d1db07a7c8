"""Tracebacks as if torch's functions were torch's own: the account's stand-ins are not shown."""

from __future__ import annotations

from typing import Any

from rankbook import calls

__all__ = ["hide"]


def hide(formatter: Any) -> None:
    """Make IPython format tracebacks without frames of the account.

    Args:
        formatter: The shell's ``InteractiveTB``.
    """
    formats = formatter.structured_traceback

    def structured_traceback(
        etype: Any = None, evalue: Any = None, etb: Any = None, *args: Any, **options: Any
    ) -> Any:
        _remove_ours(evalue)
        return formats(etype, evalue, etb, *args, **options)

    formatter.structured_traceback = structured_traceback


def _remove_ours(error: BaseException | None) -> None:
    """Remove our frames from the traceback of an exception and of its causes."""
    seen: set[int] = set()
    errors = [error]
    while errors:
        error = errors.pop()
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        errors += [error.__cause__, error.__context__]
        trace = error.__traceback__
        while trace is not None:
            # The first entry is never ours: the exception was caught there.
            while trace.tb_next is not None and calls.is_ours(trace.tb_next.tb_frame.f_code):
                trace.tb_next = trace.tb_next.tb_next
            trace = trace.tb_next
