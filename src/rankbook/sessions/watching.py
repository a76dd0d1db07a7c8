"""Watching a cell that runs, for the proof that it will never end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rankbook.cluster.channel import Call, Channel, everyone
from rankbook.diagnosis import diagnose
from rankbook.models import Diagnosis, Look, load
from rankbook.models.requests import LookAt
from rankbook.sessions.looking import answer_timeout

__all__ = ["Watch"]

_FIRST = 0.7
"""Seconds after which a cell is looked at for the first time: most have ended by then."""

_PERIOD = 0.5
"""Seconds between two looks while some rank waits for others."""

_BESIDE_DEAD = 0.15
"""The same while some rank waits and another has ended."""

_LONGEST = 1.0
"""Seconds between two looks while all ranks are busy by themselves."""

_HARMLESS = ("idle", "running", "slow", "unknown")
"""Kinds of diagnosis that are no reason why a cell fails."""


class Watch:
    """Looks at the ranks now and then, without waiting for their answers.

    It has no thread: whoever waits for the cell calls :meth:`pause`. A cell shorter than 0.7 s is
    never looked at, and so costs nothing.

    Attributes:
        diagnosis: What the last look came to; None before there was one.
        proof: The last diagnosis that was proven, whatever was seen since; None if none was.
    """

    def __init__(
        self,
        channel: Channel,
        engines: Mapping[int, int],
        gather: Callable[[Mapping[int, Look]], Mapping[int, Look]],
    ) -> None:
        """Watch from now on.

        Args:
            channel: To the engines.
            engines: By engine, its rank: all ranks of the group, also those that do not run the
                cell.
            gather: Adds what the session knows by itself to the looks of those that answered, by
                rank: who has ended, who does not answer, who has raised.
        """
        self._channel = channel
        self._rank_of = engines
        self._gather = gather
        self._call: Call | None = None
        self._period = _PERIOD
        self._due = time.monotonic() + _FIRST
        self._late = 0.0
        self._hurry = False
        self.diagnosis: Diagnosis | None = None
        self.proof: Diagnosis | None = None

    def pause(self) -> float:
        """Go on with looking, if it is time; return the seconds until it is."""
        now = time.monotonic()
        if self._call is None:
            if now < self._due and not self._hurry:
                return self._due - now
            self._hurry = False
            self._call = self._channel.request(everyone(self._rank_of, LookAt()))
            self._late = now + answer_timeout(len(self._rank_of))
        if self._call.done or now > self._late:
            call, self._call = self._call, None
            self._channel.forget(call)
            self._take(call)
            self._due = now + self._period
        return 0.02

    def soon(self) -> None:
        """Look at once: something has changed."""
        self._hurry = True

    def begin_anew(self) -> None:
        """Drop what was seen: ranks have been freed."""
        if self._call is not None:
            self._channel.forget(self._call)
        self._call, self.diagnosis = None, None
        self._due = time.monotonic() + self._period

    @property
    def verdict(self) -> Diagnosis | None:
        """Why the cell cannot end, as far as is seen; None if nothing is wrong."""
        found = self.diagnosis
        return found if found and (found.proven or found.kind not in _HARMLESS) else None

    def confirm(self, diagnose: Callable[[], Diagnosis]) -> None:
        """Keep the verdict as a proof if a closer look agrees; ranks are about to be freed.

        What was seen once, on ranks that move, may have been on its way.
        """
        if not self.is_proven and (self.verdict is not None or self.diagnosis is None):
            found = diagnose()
            self.proof = found if found.kind not in _HARMLESS else self.proof

    @property
    def is_proven(self) -> bool:
        """Whether some rank waits for what will never come."""
        return self.diagnosis is not None and self.diagnosis.proven

    def _take(self, call: Call) -> None:
        looks = {self._rank_of[e]: load(Look, value) for e, value in call.values.items()}
        self.diagnosis = diagnose(self._gather(looks))
        if self.diagnosis.proven:
            self.proof = self.diagnosis
        waits = any(look.waiting for look in looks.values())
        dead = self.diagnosis.kind == "dead"
        self._period = _BESIDE_DEAD if waits and dead else _PERIOD if waits else _LONGEST
