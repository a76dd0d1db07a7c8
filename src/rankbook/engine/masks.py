"""Keeping signals away from the threads that an engine has besides a person's.

The system gives a signal for a process to any thread that does not block it. In a process of its
own, code that blocks one to wait for it later (``signal.sigwait``) has blocked it in all threads:
the others are begun by the first. Here some are there before, and the signal would end the process.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager

__all__ = ["ENDS", "block", "kept_from_new_threads"]

ENDS = frozenset({signal.SIGINT, signal.SIGTERM})
"""What an engine handles at any time, also while it waits for other ranks."""

_OF_A_THREAD = frozenset(
    {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP}
)
"""What a thread brings upon itself; if it blocks that, no fault handler tells of it."""


def block(but: Collection[signal.Signals] = ()) -> set[signal.Signals | int]:
    """Have this thread, and those that it begins, get no signals for the process.

    Args:
        but: Signals that it gets nevertheless.

    Returns:
        What it had blocked before.
    """
    wanted = signal.valid_signals() - _OF_A_THREAD - {*but}
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, wanted))


@contextmanager
def kept_from_new_threads(but: Collection[signal.Signals] = ()) -> Iterator[None]:
    """Have threads that are begun meanwhile get no signals for the process.

    Args:
        but: Signals that are not kept from them, nor from this thread meanwhile.
    """
    before = block(but)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
