"""What this rank does: one report, for the dashboard, the status table and the verdict."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from rankbook.calls import Ledger
from rankbook.calls.blocking import FUTURE, OTHER_STORE, WORK
from rankbook.calls.waits import SOON
from rankbook.engine.cells import left
from rankbook.engine.group.nccl import OpenSince, Streams
from rankbook.engine.looking import alarms, flight, frames
from rankbook.engine.looking.coroutines import Coroutine
from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.raised import Reasons
from rankbook.engine.looking.recorder import Recorder
from rankbook.engine.looking.stillness import Movement, Standing
from rankbook.models import Collective, Look
from rankbook.models.calls import POLL, Wait
from rankbook.models.requests import Run

__all__ = ["Observer"]

_MOMENT = 0.03
"""Seconds in which a thread that computes uses its core."""

_SETTLED = 0.025
"""Seconds without movement after which a thread inside C++ counts as waiting."""

_STUCK = 0.2
"""Seconds without a completed collective on the stream, after which a rank may be waiting."""

_LEFT_BEHIND = 1.0
"""Seconds after which a collective that an ended cell left on its stream may be stuck."""


class _ThreadsWait(NamedTuple):
    """The wait of threads for which the main thread waits."""

    call: Collective
    line: str
    """Empty if unknown."""
    still: float
    """Seconds for which neither has moved."""
    may_end: bool
    """Whether more than these threads may wake the main thread."""


class Observer:
    """Looks at this rank from the control thread.

    Attributes:
        reasons: Finds the exceptions because of which it does what it does.
    """

    def __init__(
        self,
        ledger: Ledger,
        recorder: Recorder,
        silent_for: Callable[[str], float | None],
        streams: Streams,
        coroutine: Coroutine | None = None,
    ) -> None:
        """Begin to look.

        Args:
            ledger: The calls and waits of this process.
            recorder: torch's flight recorder.
            silent_for: See :meth:`rankbook.engine.group.sockets.GlooSockets.silent_for`.
            streams: The calls that NCCL has not completed.
            coroutine: The cell that runs, if it awaits.
        """
        self._coroutine = coroutine or Coroutine()
        self._ledger = ledger
        self._streams = streams
        self._recorder = recorder
        self._silent_for = silent_for
        self._movement = Movement()
        self._open_since = OpenSince()
        self.reasons = Reasons()
        self._known: tuple[float, Collective | None] = -math.inf, None
        """When the recorder was last asked for the main thread's wait, and its answer."""

    def forget(self) -> None:
        """Start again: the main thread is about to do something else."""
        self._movement.forget()

    def look(self, doing: str, cell: int | None, since_ns: int, *, closely: bool) -> Look:
        """See what the rank does.

        Args:
            doing: The operation of the main thread, empty if none.
            cell: Number of the running cell, None if none runs.
            since_ns: When the present group began, ns since the epoch: what the recorder kept of
                earlier ones is left out.
            closely: Take the time to look twice, and include recent calls.
        """
        seen = self._look(doing, cell, since_ns, closely=closely)
        if not closely:
            return seen
        if seen.waiting is not None:
            wait = self._main_wait()
            # Who else has another store is not known, so that nothing can be proven.
            is_of_others = wait is not None and (
                wait.kind == OTHER_STORE and bool(seen.waiting.entries)
            )
            if (place := seen.waiting.meets) is not None:
                is_soon = place.timeout is not None and place.timeout <= SOON
                seen = replace(
                    seen,
                    has_children=place.others_may_come and left.are_strangers(),
                    may_end=seen.may_end or is_soon,
                )
            if alarms.may_end(seen) or (wait is not None and (wait.may_end or is_of_others)):
                seen = replace(seen, may_end=True)
            if wait is not None and wait.timeout is not None:
                remaining = max(0.0, wait.began + wait.timeout - time.time())
                seen = replace(seen, gives_up=remaining)
        return replace(
            seen,
            groups=self._ledger.groups.makings(),
            meshes=tuple(self._ledger.groups.meshes.copy()),
            threads=len(frames.user_threads()),
        )

    def _look(self, doing: str, cell: int | None, since_ns: int, *, closely: bool) -> Look:
        at = frames.position()
        stands = self._movement.seen(at, self._began(at))
        if open_calls := self._streams.open_calls():
            mark = (open_calls, at.mark if doing else ())
            still = self._open_since.seconds(mark, time.monotonic())
            # A rank whose calls complete is not delayed to read its calls.
            if still >= (_STUCK if doing else _LEFT_BEHIND) and (doing or closely):
                seen = self._on_stream(at, still, doing, cell, since_ns)
                if seen is not None:
                    return seen
                self._streams.dismiss(open_calls)
        passes = not doing and not at.in_loop  # a callback, for example of the heartbeat
        if closely and (passes or (at.in_torch and not stands.still)):
            # It may wait, compute in C++, or pass through a call: a moment later this is clear.
            # Asking the recorder at once would delay a moving thread.
            time.sleep(_MOMENT)
            at = frames.position()
            stands = self._movement.seen(at, self._began(at))
        if not doing and (at.in_loop or not (closely or at.line)):
            word = "running" if frames.other_threads_in_torch_distributed() else "idle"
            recent = flight.called(self._ledger, since_ns) if closely else ()
            return Look(word, "", cell, None, recent, stands.still, stands.quiet)
        asks = self._main_wait()
        if asks is not None and asks.kind == POLL and doing:
            return self._asking(asks, at, cell, since_ns, closely=closely)
        waiting, recent = self._wait(at, stands, since_ns, closely=closely)
        line = at.line
        if (its := self._wait_for_thread(at, stands, waiting)) is not None:
            waiting, line = its.call, its.line or line
            recent = flight.called(self._ledger, since_ns) if closely else ()
        return Look(
            "waiting" if waiting else "running",
            line or (doing if doing != Run.op else ""),
            cell,
            waiting,
            recent,
            its.still if its else stands.still,
            stands.quiet,
            self._silent_for(waiting.group) if waiting and closely else None,
            since=(waiting.since or stands.here) if waiting else 0.0,
            may_end=its is not None and its.may_end,
            in_thread=its is not None,
            in_wait=self._in_work(at) if waiting and its is None else 0.0,
        )

    def _main_wait(self) -> Wait | None:
        """The wait of the main thread, including what it polls for."""
        return self._ledger.present_waits().get(threading.main_thread().ident or 0)

    def _asking(
        self, wait: Wait, at: Position, cell: int | None, since_ns: int, *, closely: bool
    ) -> Look:
        """See what a rank does whose main thread polls whether a call is done.

        It moves between polls, but makes no progress, because it has called nothing since. But
        other threads or coroutines may still call something.
        """
        now = time.time()
        waiting = Collective.of(wait.call, now) if wait.call else None
        is_alone = not at.in_loop and not frames.user_threads()
        lasts = now - wait.began
        return Look(
            "waiting",
            wait.line or at.line,
            cell,
            waiting,
            flight.called(self._ledger, since_ns) if closely else (),
            lasts,
            lasts,
            self._silent_for(waiting.group) if waiting and closely else None,
            since=lasts,
            may_end=wait.may_end or not is_alone,
            polls=True,
        )

    def _began(self, at: Position) -> float | None:
        """When the present wait of the main thread began."""
        wait = self._main_wait() if at.awaits else None
        return wait.began if wait else None

    def _in_work(self, at: Position) -> float:
        """Seconds for which the main thread has waited for one handle; 0 if it does not."""
        wait = self._main_wait() if at.awaits == WORK else None
        return time.time() - wait.began if wait is not None and wait.kind == WORK else 0.0

    def _wait_for_thread(
        self, at: Position, stands: Standing, waiting: Collective | None
    ) -> _ThreadsWait | None:
        """What threads wait in while the main thread waits for them; None if it does not."""
        if waiting is not None and at.awaits != FUTURE:
            return None
        if waiting is None and not (at.in_lock or at.in_loop):
            return None
        still = stands.still
        waits = {thread: wait for thread, wait in self._ledger.present_waits().items() if wait.call}
        if waiting is not None:
            called = self._ledger.waits.in_callbacks.copy()
            return self._first({t: wait for t, wait in waits.items() if t in called}, still)
        # The engine's own timers move the main thread now and then, and so does a short timeout.
        if at.in_loop or at.gives_up:
            latest = max((wait.began for wait in waits.values()), default=math.inf)
            still = min(stands.here, time.time() - latest)
        if still < _SETTLED or frames.others_go_on(waits):
            return None
        if at.in_lock:
            return self._first(waits, still, may_end=at.gives_up)
        is_certain = self._coroutine.waits_for(waits)
        return self._first(waits, still, self._coroutine.line(), may_end=not is_certain)

    def _first(
        self, waits: Mapping[int, Wait], still: float, line: str = "", *, may_end: bool = False
    ) -> _ThreadsWait | None:
        """The wait that began first, which holds up the others; the line if it has none itself."""
        first = min(waits.values(), key=lambda wait: wait.began, default=None)
        call = flight.waits_in(self._ledger, Position(), first, ()) if first is not None else None
        if first is None or call is None:
            return None
        return _ThreadsWait(call, frames.line_of(first.thread) or line, still, may_end)

    def _on_stream(
        self, at: Position, still: float, doing: str, cell: int | None, since_ns: int
    ) -> Look | None:
        """See what a rank does whose stream has had an open call for a while.

        None if the call has completed, or belongs to a former group.

        Where a call of torch waits, the rank waits in that collective. Else it may wait in a
        call that is not announced (``.item()``), be idle, or compute; so a verdict about it is
        likely, not proven.
        """
        recent = flight.recorded(self._recorder, since_ns, self._ledger)
        first = next((call for call in recent if not call.done), None)
        first = first or flight.open_p2p(self._recorder, since_ns, self._ledger)
        if first is None:
            return None
        line = at.line or (doing if doing != Run.op else "")
        may_end = not (doing and (at.in_torch or at.awaits))
        line = line or "its cell has ended; a collective is left on its stream"
        return Look(
            "waiting", line, cell, first, recent, still, still, since=first.since, may_end=may_end
        )

    def _wait(
        self, at: Position, stands: Standing, since_ns: int, *, closely: bool
    ) -> tuple[Collective | None, tuple[Collective, ...]]:
        """The call in which the main thread waits, and recent calls if they were looked up."""
        wait = self._main_wait()
        if not at.in_torch and wait is None:
            return None, ()
        if stands.still < _SETTLED:
            # A moving thread is not delayed to read its calls: its announcement is enough.
            return (None if closely else flight.waits_in(self._ledger, at, wait, ())), ()
        now = time.monotonic()
        asked, waiting = self._known
        if not closely and now - stands.still <= asked:  # it has not moved since
            if waiting and waiting.since:
                waiting = replace(waiting, since=waiting.since + now - asked)
            return waiting, ()
        recent = flight.called(self._ledger, since_ns)
        waiting = flight.waits_in(self._ledger, at, wait, recent)
        self._known = now, waiting
        return waiting, recent if closely else ()
