"""Looks at the ranks in the background and gives snapshots to a listener."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from rankbook.errors import RankbookError

if TYPE_CHECKING:
    from rankbook.models import Snapshot
    from rankbook.sessions.changes import Changes
    from rankbook.timing import Timing

__all__ = ["Monitor", "Watched"]

_log = logging.getLogger(__name__)


class Watched(Protocol):
    """What a monitor needs of a session; see :class:`rankbook.sessions.session.Session`."""

    @property
    def timing(self) -> Timing:
        """How long to wait."""

    @property
    def changes(self) -> Changes:
        """Tells when something changes."""

    @property
    def endings(self) -> Changes:
        """Tells when it is about to be shut down."""

    @property
    def doing(self) -> str:
        """What it is busy with."""

    @property
    def is_closed(self) -> bool:
        """Whether it is shut down."""

    @property
    def world_size(self) -> int:
        """Number of ranks."""

    def snapshot(self) -> Snapshot:
        """Look at it."""


class Monitor:
    """A thread that gives snapshots of one session to a listener.

    It looks once a second, more often while the session is busy, and soon after the session says
    that something has changed. While no page shows its snapshots, it takes none. It ends with the
    session, after a last look, which stays on screen.
    """

    def __init__(
        self,
        session: Watched,
        listener: Callable[[Snapshot], float | None],
        on_error: Callable[[str], None],
    ) -> None:
        """Start watching.

        Args:
            session: What to watch.
            listener: Called from the monitor's thread with each snapshot. It may return after how
                many seconds it wants the next one at the latest.
            on_error: Called instead, with a line that says why there is none.
        """
        self._session = session
        self._listener = listener
        self._on_error = on_error
        self._wanted: float | None = None
        self._is_heard_while_busy = False
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._at_once = threading.Event()
        self._has_looked_last = threading.Event()
        # A page is about to show it.
        self._forgotten_at = time.monotonic() + self._timing.forgotten
        self._unsubscribe = ExitStack()
        self._unsubscribe.callback(session.changes.subscribe(self._changed.set))
        self._unsubscribe.callback(session.endings.subscribe(self._look_last))
        self._thread = threading.Thread(target=self._watch, name="rankbook-monitor", daemon=True)
        self._thread.start()

    def watched(self, someone: bool) -> None:  # noqa: FBT001
        """Note whether a page shows the session; one that comes back gets a look at once."""
        was_forgotten = self._is_forgotten
        # While a cell runs, the kernel may not hear a page that is still there. Cells run in
        # the main thread, so a sign that arrives there did not arrive during a cell.
        is_beside = threading.current_thread() is not threading.main_thread()
        self._is_heard_while_busy |= is_beside and bool(self._session.doing)
        self._forgotten_at = time.monotonic() + (self._timing.forgotten if someone else 0)
        if someone and was_forgotten:
            self._changed.set()

    def stop(self) -> None:
        """Stop watching; returns at once."""
        self._stopped.set()
        self._at_once.set()
        self._changed.set()
        self._unsubscribe.close()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended.

        Args:
            timeout: Seconds after which to wait no longer.

        Returns:
            Whether it has ended.
        """
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def _timing(self) -> Timing:
        return self._session.timing

    @property
    def _is_forgotten(self) -> bool:
        return time.monotonic() > self._forgotten_at

    def _watch(self) -> None:
        while not self._stopped.is_set():
            if self._changed.wait(self._pause()):
                self._at_once.wait(self._timing.monitor_settle)
                self._changed.clear()
            is_last = self._at_once.is_set()
            if self._session.is_closed:
                self.stop()
            elif self._is_idle and not is_last:
                continue
            self._look()
            if is_last:
                self._at_once.clear()
                self._has_looked_last.set()

    def _look_last(self) -> None:
        """Have the monitor look a last time before the ranks end; called in another thread."""
        self._has_looked_last.clear()
        self._at_once.set()
        self._changed.set()
        self._has_looked_last.wait(self._timing.last_look)

    def _look(self) -> None:
        try:
            try:
                self._wanted = None
                self._wanted = self._listener(self._session.snapshot())
            except (RankbookError, OSError) as error:  # for example, the controller is gone
                self._on_error(str(error))
        except Exception:  # noqa: BLE001 - it is logged
            # A snapshot that cannot be shown must not end the monitor.
            _log.exception("The dashboard could not be brought up to date")

    @property
    def _is_idle(self) -> bool:
        """Whether no page shows the session, as far as is known."""
        return self._is_forgotten and (self._is_heard_while_busy or not self._session.doing)

    def _pause(self) -> float | None:
        if self._is_idle:
            return None
        timing = self._timing
        pause = max(timing.monitor, timing.monitor_each * self._session.world_size)
        if self._session.doing:
            pause = timing.monitor_busy
        return pause if self._wanted is None else min(pause, self._wanted)
