"""Ending the ``multiprocessing`` processes of a script at the end of the script.

Python does this when its process exits: it ends pools and daemonic processes, and waits for others.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from multiprocessing.process import BaseProcess
from typing import Any

from rankbook.engine.cells import loaders

__all__ = ["Workers"]

_util: Any = multiprocessing.util


class Workers:
    """The processes started from now on."""

    def __init__(self) -> None:
        self._known = {
            *_util._finalizer_registry,
            *multiprocessing.active_children(),
            *threading.enumerate(),
        }

    def end(self) -> None:
        """End or await them.

        Raises:
            KeyboardInterrupt: The wait was interrupted; some processes still run.
        """
        for executor in self._executors():
            executor.shutdown()
        children = self._children()
        if children:
            loaders.let_go(children)
        self._finalize(lambda priority: priority >= 0)
        children = self._children()
        for child in children:
            if child.daemon:
                child.terminate()
        for child in children:
            child.join()
        self._finalize(lambda priority: priority < 0)

    def _children(self) -> list[BaseProcess]:
        return [one for one in multiprocessing.active_children() if one not in self._known]

    def _executors(self) -> list[Executor]:
        """The executors of processes, by the threads that manage them; joblib has its own class."""
        # Python (3.9 and later) has no list of executors, but each such thread refers to its own.
        threads = [one for one in threading.enumerate() if one not in self._known]
        found = [getattr(one, "executor_reference", lambda: None)() for one in threads]
        return [one for one in found if isinstance(one, Executor)]

    def _finalize(self, is_due: Callable[[int], bool]) -> None:
        """Call finalizers that were registered for the exit of the process."""
        registry = _util._finalizer_registry
        due = [key for key in [*registry] if key not in self._known and key[0] is not None]
        for key in sorted(due, reverse=True):
            if is_due(key[0]) and (finalizer := registry.get(key)) is not None:
                try:
                    finalizer()
                except Exception:  # noqa: BLE001 - Python, too, shows it and goes on
                    traceback.print_exc()
