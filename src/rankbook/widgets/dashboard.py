"""The dashboard: the table of all ranks, kept up to date, and the buttons that act on the group."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

from rankbook.display.table import headline, to_html, to_text
from rankbook.errors import RankbookError
from rankbook.sessions.monitor import Monitor
from rankbook.widgets.subshell import answer_beside_cells

if TYPE_CHECKING:
    from rankbook.models import Snapshot
    from rankbook.sessions.session import Session

__all__ = ["Dashboard"]

_WIDGET = "application/vnd.jupyter.widget-view+json"


class Dashboard(widgets.VBox):
    """One per session; shown in several places it is the same dashboard."""

    # ipywidgets 7 shows itself through this, and would leave out the static forms below.
    _ipython_display_ = None

    def __init__(self, session: Session) -> None:
        self._session = session
        self._snapshot = session.snapshot()
        backends = sorted({"gloo", "nccl", self._snapshot.backend or "gloo"})
        self.table = widgets.HTML(to_html(self._snapshot))
        self.message = widgets.HTML()
        self.backend = widgets.Dropdown(
            options=backends,
            value=self._snapshot.backend or "gloo",
            description="Backend",
            style={"description_width": "initial"},
            layout={"width": "150px"},
        )
        self.nproc = widgets.BoundedIntText(
            value=self._snapshot.world_size or 1,
            min=1,
            max=4096,
            description="Ranks",
            style={"description_width": "initial"},
            layout={"width": "110px"},
        )
        self.initialise = _button("Initialise", "play", "Form a new group with this backend")
        self.reset = _button("Reset", "refresh", "destroy_global_state, then a new generation")
        self.interrupt = _button("Interrupt", "stop", "Free the ranks; their variables stay")
        self.why = _button("Why?", "question", "What the ranks do or wait for, and why")
        self.shutdown = _button("Shut down", "power-off", "Stop the engines of this session")
        self.initialise.on_click(self._doing(self._initialise))
        self.reset.on_click(self._doing(session.reset))
        self.shutdown.on_click(self._doing(session.shutdown))
        self.interrupt.on_click(self._doing(self._interrupt))
        self.why.on_click(self._doing(lambda: session.diagnose().summary))
        for button in (self.interrupt, self.why):
            answer_beside_cells(button)
        group = widgets.HBox([self.backend, self.nproc, self.initialise])
        rest = widgets.HBox([self.reset, self.interrupt, self.why, self.shutdown])
        controls = widgets.HBox(
            [group, rest, self.message], layout={"flex_flow": "row wrap", "grid_gap": "0 16px"}
        )
        # Where this widget is alive, it takes the place of the table that display() shows first.
        self._fallback = f"rankbook-{uuid.uuid4().hex}"
        hide = widgets.HTML(f"<style>.{self._fallback} {{ display: none }}</style>")
        hide.layout.display = "none"
        super().__init__([self.table, controls, hide])
        self._monitor = Monitor(session, self.show)

    def display(self) -> None:
        """Show the dashboard so that something is left of it wherever it cannot live.

        A saved notebook, GitHub and nbconvert show the table alone, a kernel's front end the live
        widget alone, a terminal the table as text.
        """
        static = f'<div class="{self._fallback}">{to_html(self._snapshot)}</div>'
        publish_display_data({"text/html": static, "text/plain": to_text(self._snapshot)})
        if getattr(get_ipython(), "kernel", None) is not None:
            publish_display_data({_WIDGET: self._model, "text/plain": repr(self)})

    def show(self, snapshot: Snapshot) -> None:
        """Draw a snapshot; nothing is sent to the browser where nothing has changed."""
        closed = self._session.is_closed
        if closed:
            left = (replace(s, state="left", activity="") for s in self._snapshot.states)
            snapshot = replace(self._snapshot, doing=snapshot.doing, states=tuple(left))
        if snapshot.generation != self._snapshot.generation and snapshot.world_size:
            self.nproc.value = snapshot.world_size
            if snapshot.backend in self.backend.options:
                self.backend.value = snapshot.backend
        self._snapshot = snapshot
        self.table.value = to_html(snapshot)
        for control in (self.initialise, self.reset, self.shutdown, self.backend, self.nproc):
            control.disabled = bool(closed or snapshot.doing)
        for control in (self.interrupt, self.why):  # for when it is busy
            control.disabled = closed
        if closed:
            self._monitor.stop()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The live widget, and for whoever cannot show it (GitHub, a terminal) the table."""
        del kwargs
        return {
            _WIDGET: self._model,
            "text/html": to_html(self._snapshot),
            "text/plain": to_text(self._snapshot),
        }

    @property
    def _model(self) -> dict[str, Any]:
        return {"version_major": 2, "version_minor": 0, "model_id": self.model_id}

    def _initialise(self) -> None:
        self._session.initialize(self.backend.value, self.nproc.value)

    def _interrupt(self) -> str:
        return "Interrupted." if self._session.interrupt() else "Nothing runs on any rank."

    def _doing(self, action: Callable[[], str | None]) -> Callable[[widgets.Button], None]:
        """Do something at a click, and say in the dashboard how it ended, or what it says."""

        def on_click(button: widgets.Button) -> None:
            self._say(f"{button.description} …")
            try:
                said = action()
            except RankbookError as error:
                self._say(str(error), "#dc2626")
            else:
                self._say(said or f"{button.description}: done.")
            with suppress(RankbookError):
                self.show(self._session.snapshot())

        return on_click

    def _say(self, text: str, colour: str = "inherit") -> None:
        self.message.value = (
            f'<span role="status" style="color: {colour}; line-height: 1.4">{escape(text)}</span>'
        )

    def __repr__(self) -> str:
        return f"<Dashboard: {headline(self._snapshot)}>"


def _button(name: str, icon: str, help_text: str) -> widgets.Button:
    return widgets.Button(description=name, icon=icon, tooltip=help_text, layout={"width": "auto"})
