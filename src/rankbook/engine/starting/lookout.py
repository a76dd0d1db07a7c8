"""Detecting from another host whether the notebook still exists.

When the notebook ends, standard input closes. When its machine or the network is off, nothing
closes it, so a process without engines looks for the notebook's controller from time to time.
Engines notice by their heartbeats.
"""

from __future__ import annotations

import socket
import time

__all__ = ["PATIENCE", "Lookout"]

PATIENCE = 40.0
"""Seconds without a sign of the notebook after which it counts as gone: longer than a network
outage of half a minute."""

_LOOK = 10.0
"""Seconds between two looks for the controller."""

_REACH = 5.0
"""Seconds for the controller to accept a connection."""


class Lookout:
    """Looks for the notebook's controller.

    Args:
        patience: Seconds without a sign of it after which it counts as gone; None: never.
    """

    def __init__(self, patience: float | None = None) -> None:
        self._patience = patience
        self._controller: tuple[str, int] | None = None
        self._seen = self._looked = time.monotonic()

    def reach(self, host: str, port: int) -> str:
        """Connect to the controller, now and at every look; return why that fails, if it does."""
        self._controller = host, port
        return self._problem()

    def seconds_to_next(self) -> float | None:
        """Seconds until the next look; None if there is none."""
        if self._patience is None:
            return None
        at = self._seen + self._patience if self._controller is None else self._looked + _LOOK
        return max(0.0, at - time.monotonic())

    def is_left(self) -> bool:
        """Look; return whether the notebook is gone."""
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
