"""The dashboard: a panel kept up to date by a monitor, whose buttons act on the session."""

from __future__ import annotations

import threading
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from IPython.core.getipython import get_ipython
from IPython.display import publish_display_data

from rankbook.display.dashboard.panel import Message, Panel
from rankbook.display.dashboard.panel import to_html as panel_html
from rankbook.display.facts import headline
from rankbook.display.table import to_html, to_text
from rankbook.errors import RankbookError
from rankbook.sessions.live.collector import Timeline
from rankbook.sessions.live.monitor import Monitor
from rankbook.widgets.actions import Actions
from rankbook.widgets.clicks import Click
from rankbook.widgets.hearing import Hearing
from rankbook.widgets.panel import PanelView
from rankbook.widgets.spent import Spent
from rankbook.widgets.timeline import TimelineView

if TYPE_CHECKING:
    from rankbook.models import Snapshot
    from rankbook.sessions.session import Session

__all__ = ["Dashboard"]

_WIDGET = "application/vnd.jupyter.widget-view+json"

_ALONE = """<style>
.jp-OutputArea-child:has(.{name}) + .jp-OutputArea-child > .jp-OutputArea-output:not(:has(*)) {{
    display: none;
}}
</style>"""
"""Hides what JupyterLab says below the static table where no kernel has the widget any more."""


class Dashboard(widgets.VBox):
    """One per session; shown in several places it is the same dashboard.

    Attributes:
        actions: What its buttons do.
        monitor: Looks at the session for it, in a thread of its own.
        panel: Shows the ranks and the buttons.
        timeline: Shows the collectives.
    """

    # ipywidgets 7 displays itself by this method, and would leave out the static forms below.
    _ipython_display_ = None

    def __init__(self, session: Session) -> None:
        self._session = session
        self._snapshot = session.snapshot()
        self._showing = threading.Lock()
        self.actions = Actions(session, self._redraw, self._look_again)
        self._loss: Message | None = None
        # Where this widget is alive, it hides the static table that display() shows first.
        self._fallback = f"rankbook-{uuid.uuid4().hex}"
        self._hide = widgets.HTML(f"<style>.{self._fallback} {{ display: none }}</style>")
        self._hide.layout.display = "none"
        self._timeline = Timeline(session.members)
        self._spent = Spent()
        self._former: tuple[PanelView, TimelineView] | tuple[()] = ()
        self._make_views(patience=2.0)
        self.timeline.update(self._timeline, self._snapshot.states, session.cells)
        super().__init__([self.panel, self.timeline, self._hide])
        self.monitor = Monitor(session, self._follow, self._lose)

    def display(self) -> None:
        """Show the dashboard, with a static form for places where a widget cannot live.

        A saved notebook, GitHub and nbconvert show the table alone, a kernel's front end the live
        widget alone, a terminal the table as text.
        """
        self._look_again()  # the last look may be old
        alone = _ALONE.format(name=self._fallback)
        static = f'{alone}<div class="{self._fallback}">{to_html(self._snapshot)}</div>'
        publish_display_data({"text/html": static, "text/plain": to_text(self._snapshot)})
        if getattr(get_ipython(), "kernel", None) is not None:
            # Its text is the table's.
            publish_display_data({_WIDGET: self._model, "text/plain": ""})

    def _follow(self, snapshot: Snapshot) -> float | None:
        """Show a snapshot of the monitor and the latest recordings; in its thread only.

        Returns:
            After how many seconds it wants the next one, at the latest; None: whenever it comes.
        """
        self.show(snapshot)
        cells = self._session.cells
        if self._session.is_closed:
            self._timeline.end()
        else:
            self._timeline.collect(snapshot.states, cells, is_last=self._session.is_ending)
        with self._showing:
            self.timeline.update(self._timeline, snapshot.states, cells)
            if self._spent.look(self._timeline.kept, cells):
                self._draw()
        return self._timeline.wanted

    def show(self, snapshot: Snapshot) -> None:
        """Draw a snapshot unless a later one was drawn; nothing is sent if nothing differs."""
        with self._showing:
            if snapshot.number < self._snapshot.number:
                return
            if self.actions.message is self._loss:  # the ranks answer again
                self.actions.message = None
            self._loss = None
            self.actions.let_go()
            if self._session.is_closed:
                left = (replace(s, state="left") for s in self._snapshot.states)
                snapshot = replace(
                    self._snapshot,
                    doing=snapshot.doing,
                    states=tuple(left),
                    verdict=None,
                    hangs=False,
                )
                self.monitor.stop()
            self._snapshot = snapshot
            self._draw()

    def _lose(self, why: str) -> None:
        """The ranks cannot be asked any more: show them as not answering."""
        if self._session.is_closed:  # that is the reason, and is shown in a moment
            return
        with self._showing:
            lost = (replace(s, state="no answer") for s in self._snapshot.states)
            self._snapshot = replace(self._snapshot, states=tuple(lost))
            self._loss = self.actions.say(why, "error")
            self._draw()

    def close(self) -> None:
        """End it; the session makes another when one is asked for."""
        self.monitor.stop()
        with self._showing:
            self._close_former()
            for child in self.children:
                child.close()
            super().close()

    def _make_views(self, patience: float) -> None:
        # A deaf page shows at least the state that the views were made with.
        html, during = self._picture()
        self.panel = PanelView(self._click, self._looked_at, html=html, during=during, drawn=1)
        self.timeline = TimelineView()
        for view in (self.panel, self.timeline):
            Hearing(view, partial(self._replace_views, view, patience), patience)

    def _replace_views(self, deaf: PanelView | TimelineView, patience: float) -> None:
        """A page shows a view and receives nothing for it: replace all views."""
        with self._showing:
            if self.comm is None:  # it was closed
                return
            if deaf not in (self.panel, self.timeline):
                # A server that drops messages may have dropped the one that replaced the view.
                self.send_state("children")
                return
            self._close_former()
            self._former = (self.panel, self.timeline)
            self.panel.on_look = _ignore
            # The machine may only be slow: the next time, wait longer before replacing them.
            self._make_views(2 * patience)
            self.timeline.update(self._timeline, self._snapshot.states, self._session.cells)
            self.children = [self.panel, self.timeline, self._hide]

    def _close_former(self) -> None:
        for view in self._former:
            view.layout.close()
            view.close()

    def _draw(self) -> None:
        self.panel.draw(*self._picture())

    def _picture(self) -> tuple[str, int]:
        """What the panel shows, and during which turn."""
        session, snapshot = self._session, self._snapshot
        panel = Panel(
            snapshot,
            timeout_minutes=session.timeout_minutes,
            message=self.actions.message,
            answer=self.actions.answer,
            closed=session.is_closed,
            times=self._spent.times,
        )
        return panel_html(panel), snapshot.turn

    def _click(self, click: Click) -> None:
        self.actions.take(click)

    def _looked_at(self, someone: bool) -> None:  # noqa: FBT001
        self.monitor.watched(someone)

    def _redraw(self) -> None:
        """Show what an action has changed."""
        with self._showing:
            self._draw()

    def _look_again(self) -> None:
        """Show the present state; takes a second where some rank does not answer."""
        with suppress(RankbookError):  # the session was shut down
            self.show(self._session.snapshot())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The live widget, and the table where that cannot be shown (GitHub, a terminal)."""
        del kwargs
        return {
            _WIDGET: self._model,
            "text/html": to_html(self._snapshot),
            "text/plain": to_text(self._snapshot),
        }

    @property
    def _model(self) -> dict[str, Any]:
        return {"version_major": 2, "version_minor": 0, "model_id": self.model_id}

    def __repr__(self) -> str:
        return f"<Dashboard: {headline(self._snapshot)}>"


def _ignore(_: object) -> None:
    """Ignore a call that no longer matters."""
