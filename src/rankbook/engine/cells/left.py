"""What code has started and left behind on a rank: threads and processes."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
import time
from concurrent.futures import thread as futures
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from rankbook.ownthreads import is_ours
from rankbook.words import plural

__all__ = ["Left", "are_strangers", "serves", "started"]

_MONITOR = "tqdm._monitor"
"""Has the class of the one thread that tqdm starts with its first bar, and keeps."""

_PATIENCE = 2.0
"""Seconds for threads to end by themselves, and for threads and processes that were told to."""

_SOON = 0.7
"""Seconds for threads that look every half second whether they are to end, as servers do."""

_LOOK = 0.05
"""Seconds between two looks whether the thread of a pool still has work."""


def _threads() -> set[threading.Thread]:
    threads = [one for one in threading.enumerate() if not is_ours(one)]
    return {one for one in threads if type(one).__module__ != _MONITOR}


_HELPERS = ("multiprocessing.resource_tracker", "torch_shm_manager")
"""In the commands of processes that ``multiprocessing`` and torch start once and keep to the end of
their own: they remove what is left of shared memory, and no code has started them."""


_FORKSERVER = "multiprocessing.forkserver"
"""In the command of the process that ``multiprocessing`` starts to fork others from."""

_LOADER = "pt_data_worker"
"""What torch 2.9 to 2.15 call a worker of a DataLoader, as the system knows it."""


def started() -> set[psutil.Process]:
    """The processes that this one has started, and they, which run."""
    try:
        return {one for one in psutil.Process().children(recursive=True) if _runs(one)}
    except psutil.Error:
        return set()


def are_strangers() -> bool:
    """Whether code has started processes that still run and may come to a meeting of ranks."""
    return any(not _comes_to_none(one) for one in started())


def _comes_to_none(process: psutil.Process) -> bool:
    """Whether it loads data, or only forks others, which have its command but not its parent."""
    with suppress(psutil.Error):  # it has ended
        is_forkserver = process.ppid() == os.getpid() and any(
            _FORKSERVER in word for word in process.cmdline()
        )
        return is_forkserver or process.name() == _LOADER
    return True


def _is_below(process: psutil.Process, known: set[psutil.Process]) -> bool:
    """Whether one of the known has started it; True where it has ended."""
    try:
        return not known.isdisjoint(process.parents())
    except psutil.Error:
        return True


def serves(port: int) -> bool:
    """Whether one of these processes listens at a port."""
    for one in started():
        with suppress(psutil.Error):  # it has ended, or may not be read
            open_ones: Any = getattr(one, "net_connections", None) or one.connections
            if any(
                each.status == psutil.CONN_LISTEN and each.laddr.port == port
                for each in open_ones("tcp")
            ):
                return True
    return False


def _runs(process: psutil.Process) -> bool:
    """Whether it has not ended (its parent may not have asked how), and code has started it."""
    with suppress(psutil.Error):  # it has ended
        if process.status() != psutil.STATUS_ZOMBIE:
            return not any(helper in word for word in process.cmdline() for helper in _HELPERS)
    return False


def _has_no_work(thread: threading.Thread) -> bool:
    """Whether it is one of ``concurrent.futures`` that waits for the next call."""
    frame = sys._current_frames().get(thread.ident or 0)
    code = frame and frame.f_code
    return code is not None and (code.co_filename, code.co_name) == (futures.__file__, "_worker")


@dataclass
class Left:
    """What runs beside the main thread that did not when this was made."""

    threads: set[threading.Thread] = field(default_factory=_threads)
    processes: set[psutil.Process] = field(default_factory=started)

    def since(self) -> Left:
        """What was started since, and still runs."""
        processes = started() - self.processes
        # What an earlier script has left may start processes all the time.
        new = {one for one in processes if not _is_below(one, self.processes)}
        return Left(_threads() - self.threads, new)

    def wait(self) -> None:
        """Wait for threads that were started since, as Python does before it ends, within bounds.

        Daemons are not waited for, nor those of a pool that have no work.
        """
        deadline = time.monotonic() + _PATIENCE
        for thread in _threads() - self.threads:
            while not (thread.daemon or _has_no_work(thread)):
                thread.join(_LOOK)
                if not thread.is_alive() or time.monotonic() > deadline:
                    break

    def __str__(self) -> str:
        """``2 threads (load, watch) and 1 process``; empty where nothing is left."""
        names = ", ".join(sorted({_named(one) for one in self.threads}))
        counts = [
            f"{plural(len(self.threads), 'thread')} ({names})" if self.threads else "",
            f"{len(self.processes)} process{'es' if len(self.processes) > 1 else ''}"
            if self.processes
            else "",
        ]
        return " and ".join(filter(None, counts))

    def end(self, patience: float = _PATIENCE) -> None:
        """End it: processes by a signal, threads by an exception that nothing catches by mistake.

        A thread that waits in C gets the exception when it returns to Python.

        Afterwards, this has what could not be ended.

        Args:
            patience: Seconds for processes, and for threads.
        """
        for process in self.processes:
            with suppress(psutil.Error):  # it has ended, or is another user's
                process.terminate()
        self.end_threads(patience=0)
        _, alive = psutil.wait_procs(list(self.processes), timeout=patience)
        for process in alive:
            with suppress(psutil.Error):  # it has ended, or is another user's
                process.kill()
        self._join(patience)
        for process in self.processes:
            with suppress(OSError):  # none of ours, or reaped already
                os.waitpid(process.pid, os.WNOHANG)
        self.processes = {one for one in self.processes if _runs(one)}
        self.threads = {one for one in self.threads if one.is_alive()}

    def end_threads(self, patience: float = _SOON) -> None:
        """End the threads, and wait for that.

        Those of a pool that have no work end with their pool: from an exception they would awake
        only then, and log it.

        Args:
            patience: Seconds at most.
        """
        self.threads = {one for one in self.threads if not _has_no_work(one)}
        for thread in self.threads:
            _raise_in(thread, SystemExit)
            _wake(thread)
        self._join(patience)

    def _join(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))


_NUMBERED = re.compile(r"Thread-\d+(?: \((.*)\))?")
"""The name that Python gives to a thread: a number, which differs by rank, and its function."""


def _named(thread: threading.Thread) -> str:
    """The name of a thread, or of its function or class where no code has named it."""
    if given := _NUMBERED.fullmatch(thread.name):
        return given[1] or type(thread).__name__
    return thread.name


def _raise_in(thread: threading.Thread, kind: type[BaseException]) -> None:
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(kind)
        )


def _wake(thread: threading.Thread) -> None:
    """End its wait for a ``threading.Condition``, as that of a queue, an event or a semaphore.

    Other waits, for a lock or in the system, cannot be ended from outside.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is not None and frame.f_code is threading.Condition.wait.__code__:
        waits_for: Any = frame.f_locals.get("waiter")
        with suppress(AttributeError, RuntimeError):  # it does not wait yet, or no longer
            waits_for.release()
