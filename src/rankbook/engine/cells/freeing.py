"""Freeing this rank's main thread from its work."""

from __future__ import annotations

import sys
import threading
import time

from rankbook.engine.cells.interrupting import interrupt
from rankbook.engine.jobs import Job
from rankbook.engine.operations import CONTROL, operation
from rankbook.models.requests import LASTING, ForgetError, Free

__all__ = ["forget_error", "free"]

_BEFORE_ABORT = 0.02
"""Seconds between a signal and an abort, in which Python notices the signal."""


@operation(Free, on=CONTROL)
def free(job: Job, request: Free) -> bool:
    """Free the main thread; return whether it works for a session.

    A process that was stopped gets the request late, beside those that the session sent later:
    they go on.
    """
    engine = job.engine
    if engine.job is not None and job.precedes(engine.job):
        return False
    works = engine.job is not None
    failures = engine.runner.failures
    failures.freed = works
    if engine.job is not None:
        engine.job.outbox.hurry()
    failures.cut |= works and (request.cut or not request.interrupt)
    if request.cut and works and engine.streams.are_used and not engine.group.aborts.are_under_way:
        # Before the abort: after it, .item() returns normally, and the cell would go on.
        interrupt()
        time.sleep(_BEFORE_ABORT)
    if request.cut:
        engine.group.cut()
    if request.interrupt:
        # What has not begun must not begin after its end.
        for waiting in list(engine.waiting):
            waiting.is_dropped |= waiting.name in LASTING and not job.precedes(waiting)
    # The session interrupts again a moment later what goes on.
    if request.interrupt and works and not _imports_torch():
        engine.runner.prompt.end()  # a signal does not reach a thread at the prompt
        interrupt(insists=request.insists)
    return works


def _imports_torch() -> bool:
    """Whether the main thread imports a part of torch.

    torch imports some of its parts late: its compiler with the first optimizer, which takes
    seconds. A part whose import was interrupted stays half imported in this process, and everything
    that needs it raises from then on.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        is_module = frame.f_code.co_name == "<module>"
        if is_module and str(frame.f_globals.get("__name__")).startswith("torch."):
            return True
        frame = frame.f_back
    return False


@operation(ForgetError, on=CONTROL)
def forget_error(job: Job, _request: ForgetError) -> None:
    """Forget the error of the last cell."""
    job.engine.runner.last_error = ""
