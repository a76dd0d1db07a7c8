"""Signals in the processes that a rank forks: the same as in a plain kernel.

A forked child inherits the handlers of its parent. The handlers of an engine end the engine when
its cell has ended, or cancel its cell: in a child they do nothing, so that ``Process.terminate()``
would have no effect. Setting others after the fork is not enough, because the parent may end the
child before it gets that far. So SIGTERM is held back until then. SIGINT is not: its
``KeyboardInterrupt`` would be raised, and lost, inside the hook.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

__all__ = ["end", "install"]

_PLAIN: dict[signal.Signals, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}
"""The handlers of a plain kernel."""

_OF_ENGINES = {"rankbook", "ipyparallel", "ipykernel"}
"""Packages whose handlers are for engines. A handler that the user has set is inherited."""


class _Held(threading.local):
    """The signals that a thread held back before it began to fork."""

    mask: set[signal.Signals] | None = None


_held = _Held()


def end(error: BaseException | None) -> NoReturn:
    """End this child at the end of the code of its rank.

    Otherwise it would go on as the rank itself, and two processes would answer.

    Args:
        error: The exception that ended the code here; None: none.
    """
    status = 0
    with suppress(Exception):  # whatever fails, the child must end
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            status = error.code or 0
        elif error is not None:
            status = 1
            if isinstance(error, SystemExit):
                sys.stderr.write(f"{error.code}\n")
            else:
                traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    os._exit(status & 0xFF)


@cache
def install() -> None:
    """Give every child that this process forks, from any thread, the handlers of a plain kernel."""
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_reset_in_child)


def _hold() -> None:
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # type: ignore[assignment]


def _release() -> None:
    if _held.mask is not None:
        mask, _held.mask = _held.mask, None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _reset_in_child() -> None:
    # The child would write its signals' numbers to the parent's event loop, which would obey.
    signal.set_wakeup_fd(-1)
    for signum, handler in _PLAIN.items():
        if _is_of_an_engine(signal.getsignal(signum)):
            signal.signal(signum, handler)
    _release()


def _is_of_an_engine(handler: Any) -> bool:
    module = getattr(handler, "__module__", None) or ""
    return module.partition(".")[0] in _OF_ENGINES
