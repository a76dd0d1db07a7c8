"""Whether the notebook is there still, seen from a process on another host that waits for it.

When the notebook ends, standard input closes. When its machine is off, or the network is, nothing
does: so a process that has no engines looks from time to time for the notebook's controller.
Engines notice by themselves, by their heartbeats.
"""

from __future__ import annotations

import socket
import time

__all__ = ["PATIENCE", "Lookout"]

PATIENCE = 40.0
"""Seconds without a sign of the notebook after which it has gone: more than a network that is away
for half a minute."""

_LOOK = 10.0
"""Seconds between two looks for the controller."""

_REACH = 5.0
"""Seconds for the controller to accept a connection."""


class Lookout:
    """Looks for the notebook's controller.

    Args:
        patience: Seconds without a sign of it after which it has gone; None: never.
    """

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience
        self._controller: tuple[str, int] | None = None
        self._seen = self._looked = time.monotonic()

    def reach(self, host: str, port: int) -> str:
        """Connect to the controller, now and at every look; return why that is not possible."""
        self._controller = host, port
        return self._problem()

    def seconds_to_next(self) -> float | None:
        """Seconds until the next look; None: there is none."""
        if self._patience is None:
            return None
        at = self._seen + self._patience if self._controller is None else self._looked + _LOOK
        return max(0.0, at - time.monotonic())

    def is_left(self) -> bool:
        """Look; return whether the notebook has gone."""
        self._problem()
        return self._patience is not None and time.monotonic() - self._seen >= self._patience

    def _problem(self) -> str:
        problem = ""
        if self._controller is not None:
            try:
                socket.create_connection(self._controller, _REACH).close()
                self._seen = time.monotonic()
            except OSError as error:
                problem = error.strerror or str(error)
        self._looked = time.monotonic()
        return problem
