"""Polls the ranks in the background and tells whoever watches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from rankbook.errors import RankbookError

if TYPE_CHECKING:
    from rankbook.models import Snapshot
    from rankbook.sessions.session import Session

__all__ = ["Monitor"]

_PERIOD = 1.0
"""Seconds between two looks at ranks about which nothing is known to have changed."""

_SETTLE = 0.3
"""Seconds to wait after a change: a cell shorter than that is not worth looking at."""


class Monitor:
    """A thread that gives snapshots of one session to a listener.

    It looks once a second, and soon after the session says that something has changed. It ends
    with the session.
    """

    def __init__(self, session: Session, listener: Callable[[Snapshot], None]) -> None:
        """Start watching.

        Args:
            session: What to watch.
            listener: Called from the monitor's thread with each snapshot.
        """
        self._session = session
        self._listener = listener
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._unsubscribe = session.changes.listen(self._changed.set)
        self._thread = threading.Thread(target=self._watch, name="rankbook-monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; returns at once."""
        self._stopped.set()
        self._changed.set()
        self._unsubscribe()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            if self._changed.wait(_PERIOD):
                self._stopped.wait(_SETTLE)
                self._changed.clear()
            if self._session.is_closed:
                self.stop()
            # The controller may go, or the session end, under the eyes of the monitor; the cell
            # that meets it next says so.
            with suppress(RankbookError, OSError):
                self._listener(self._session.snapshot())
