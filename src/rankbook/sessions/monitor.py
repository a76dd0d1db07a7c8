"""Looks at the ranks in the background and tells whoever watches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rankbook.errors import RankbookError

if TYPE_CHECKING:
    from rankbook.models import Snapshot
    from rankbook.sessions.session import Session

__all__ = ["FORGOTTEN", "Monitor"]

_log = logging.getLogger(__name__)

_PERIOD = 1.0
"""Seconds between two looks at ranks about which nothing is known to have changed."""

_PER_RANK = 0.04
"""Seconds of them for each rank: of very many a look takes its time."""

_BUSY_PERIOD = 0.4
"""The same while the session is busy: a rank changes what it does without telling."""

_SETTLE = 0.3
"""Seconds to wait after a change: a cell shorter than that is not worth looking at."""

_LAST_LOOK = 0.3
"""Seconds that the end of a session waits for a last look at most: a silent rank holds it up."""

FORGOTTEN = 75.0
"""Seconds after the last sign that somebody looks; a page gives one every 30 s."""


class Monitor:
    """A thread that gives snapshots of one session to a listener.

    It looks once a second, more often while the session is busy, and soon after the session says
    that something has changed. Where nobody looks at what it shows, it does not look either. It
    ends with the session, after a last look: that is what stays on screen.
    """

    def __init__(
        self,
        session: Session,
        listener: Callable[[Snapshot], None],
        on_error: Callable[[str], None],
    ) -> None:
        """Start watching.

        Args:
            session: What to watch.
            listener: Called from the monitor's thread with each snapshot.
            on_error: Called instead, with a line that says why there is none.
        """
        self._session = session
        self._listener = listener
        self._on_error = on_error
        self._is_heard_while_busy = False
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._at_once = threading.Event()
        self._has_looked_last = threading.Event()
        # Whoever made it is about to show it.
        self._forgotten_at = time.monotonic() + FORGOTTEN
        self._unsubscribe = ExitStack()
        self._unsubscribe.callback(session.changes.listen(self._changed.set))
        self._unsubscribe.callback(session.endings.listen(self._look_last))
        self._thread = threading.Thread(target=self._watch, name="rankbook-monitor", daemon=True)
        self._thread.start()

    def watched(self, someone: bool) -> None:  # noqa: FBT001
        """Note whether somebody looks now; whoever has just come sees the present state at once."""
        was_forgotten = self._is_forgotten
        # A page whose kernel hears nothing while a cell runs must not be taken for one that left.
        # Cells run in the main thread: what that hears itself, it hears beside none.
        is_beside = threading.current_thread() is not threading.main_thread()
        self._is_heard_while_busy |= is_beside and bool(self._session.doing)
        self._forgotten_at = time.monotonic() + (FORGOTTEN if someone else 0)
        if someone and was_forgotten:
            self._changed.set()

    def stop(self) -> None:
        """Stop watching; returns at once."""
        self._stopped.set()
        self._at_once.set()
        self._changed.set()
        self._unsubscribe.close()

    @property
    def _is_forgotten(self) -> bool:
        return time.monotonic() > self._forgotten_at

    def _watch(self) -> None:
        while not self._stopped.is_set():
            if self._changed.wait(self._pause()):
                self._at_once.wait(_SETTLE)
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
        """See what has become of the ranks while they are still there; in any other thread."""
        self._has_looked_last.clear()
        self._at_once.set()
        self._changed.set()
        self._has_looked_last.wait(_LAST_LOOK)

    def _look(self) -> None:
        try:
            try:
                self._listener(self._session.snapshot())
            except (RankbookError, OSError) as error:  # the controller is gone, say
                self._on_error(str(error))
        except Exception:  # noqa: BLE001 - it is logged
            # One snapshot that cannot be shown must not be the last one.
            _log.exception("The dashboard could not be brought up to date")

    @property
    def _is_idle(self) -> bool:
        """Whether nobody looks, as far as can be known."""
        return self._is_forgotten and (self._is_heard_while_busy or not self._session.doing)

    def _pause(self) -> float | None:
        if self._is_idle:
            return None
        if self._session.doing:
            return _BUSY_PERIOD
        return max(_PERIOD, _PER_RANK * self._session.world_size)
