"""A session as a notebook holds it: with its dashboard."""

from __future__ import annotations

from typing import Any

from rankbook.display.faces import give_faces
from rankbook.sessions import session

__all__ = ["Session"]

give_faces()


class Session(session.Session):
    """One cluster and its process group, seen from the notebook.

    Made by :func:`start` or :func:`connect`.
    """

    _dashboard: Any = None

    def dashboard(self) -> Any:
        """The session's ipywidgets dashboard: the state of every rank, and buttons."""
        # A widget that was closed has no comm any more.
        if self._dashboard is None or getattr(self._dashboard, "comm", self) is None:
            from rankbook.widgets import Dashboard

            self._dashboard = Dashboard(self)
        return self._dashboard
