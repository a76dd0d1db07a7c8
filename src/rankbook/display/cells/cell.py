"""A cell's output on N ranks, shown while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection

from rankbook.display import shown, verdict
from rankbook.display.cells.entries import Screen
from rankbook.display.cells.lines import Item, Merged, Merger
from rankbook.display.cells.page import Named, Page
from rankbook.display.text import alike, is_notice, overwrite, prefixed
from rankbook.models import Diagnosis, load
from rankbook.models.events import HELD, Clear, Display, Event, Result, Stream, from_row, to_row
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import Held, Shown

__all__ = ["LiveOutput"]

_BAR_AFTER = 0.15
"""Seconds after which a line that rewrites itself, a progress bar, is shown as it is."""

_OPEN_AFTER = 1.0
"""The same for any other unfinished line, whose end mostly arrives within that."""

_LONG = 1000
"""Characters beyond which a line that is rewritten is cut down to what is visible."""


class LiveOutput:
    """Shows output as :class:`rankbook.sessions.cells.collecting.CellOutput` asks for it."""

    def __init__(
        self,
        screen: Screen,
        ranks: Collection[int],
        clock: Callable[[], float] = time.monotonic,
        mesh: NamedMesh | None = None,
        named: Named | None = None,
    ) -> None:
        """Show what ranks print.

        Args:
            screen: Where.
            ranks: Those that may print.
            clock: Seconds, monotonic.
            mesh: Its dimensions name the ranks, where that is possible.
            named: Displays of earlier cells that this one may update.
        """
        self._screen = screen
        self._clock = clock
        self._merger = Merger(ranks)
        self._partial: dict[tuple[int, str], tuple[str, float]] = {}
        self._mesh = mesh
        self._page = Page(screen, {} if named is None else named, mesh)
        self._results: dict[int, Result] = {}
        self._have_cleared: set[int] = set()

    # -- taking ------------------------------------------------------------------------------

    def event(self, rank: int, body: Event) -> None:
        """Take an event of a rank."""
        if isinstance(body, Stream):
            self._stream(rank, body.name, body.text)
        elif isinstance(body, Result):
            self._results[rank] = body
        else:
            self._end_partial(rank)
            key = json.dumps(to_row(body), sort_keys=True)
            self._merger.push(rank, Item(("display", key)), self._clock())

    def _stream(self, rank: int, name: str, text: str) -> None:
        now = self._clock()
        key = (rank, name)
        before, since = self._partial.pop(key, ("", now))
        *lines, rest = (before + text).split("\n")
        for line in lines:
            self._line(key, line, now)
            since = now
        if rest:
            # Only the visible part of a line that is rewritten must be kept.
            self._partial[key] = (rest if len(rest) < _LONG else overwrite(rest), since)

    def _line(self, key: tuple[int, str], line: str, now: float) -> None:
        if "\r" in line or "\x1b" in line:
            line = overwrite(line)
        if self._page.is_open(key):
            self._page.end(key, line)
        else:
            rank, stream = key
            item = Item((stream, alike(line, stream)), line, is_notice(line))
            self._merger.push(rank, item, now)

    def _end_partial(self, rank: int) -> None:
        for key in [k for k in self._partial if k[0] == rank]:
            self._line(key, self._partial.pop(key)[0], self._clock())

    # -- showing -----------------------------------------------------------------------------

    def pause(self, running: Collection[int]) -> float:
        """Show what is due; see :meth:`rankbook.sessions.cells.collecting.CellOutput.pause`."""
        now = self._clock()
        for rank in {key[0] for key in self._partial} - set(running):
            self._end_partial(rank)
        merged, wait = self._merger.due(running, now)
        self._take(merged)
        return min(wait, self._show_open(now), self._page.draw(now))

    def note(self, text: str) -> None:
        """Show a line that comes from no rank."""
        self._page.line("stderr", text)
        self._page.draw(self._clock())

    def mismatch(self, found: Diagnosis) -> None:
        """Show that ranks called a collective differently, though nothing hung."""
        bundle = {"text/plain": verdict.to_text(found), "text/html": verdict.to_html(found)}
        self._page.show(Display(bundle))
        self._page.draw(self._clock())

    def say(self, text: str) -> None:
        """Show an answer that comes from no rank."""
        self._page.line("stdout", text)
        self._page.draw(self._clock())

    def expect(self, ranks: Collection[int]) -> None:
        """Wait for replies; see :meth:`rankbook.sessions.cells.collecting.CellOutput.expect`."""
        self._merger.expect(ranks, self._clock())

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask the user; see :meth:`rankbook.sessions.cells.collecting.CellOutput.ask`."""
        return self._screen.ask(prompt, secret=secret)

    def finish(self) -> None:
        """Show what is left, then the values of the last expression."""
        self.pause(())
        self._take(self._merger.due((), self._clock())[0])
        self._show_results()
        self._page.draw(self._clock(), is_last=True)

    def _take(self, merged: list[Merged]) -> None:
        for ranks, item in merged:
            if item.kind != "display":
                self._page.line(item.kind, item.shown, ranks)
            elif isinstance(display := from_row(json.loads(item.key[1])), Display):
                self._page.show(display, ranks)
            elif isinstance(display, Clear):
                self._page.clear(ranks, wait=display.wait)
                self._have_cleared.update(ranks)

    def _show_results(self) -> None:
        """Show values: plain text first, in one display."""
        self._page.begin(self._results)
        self._show_drawn()
        groups: dict[str, list[int]] = {}
        for rank in sorted(self._results):
            key = json.dumps(self._results[rank].data, sort_keys=True)
            groups.setdefault(key, []).append(rank)
        plain = [
            prefixed(ranks, json.loads(data)["text/plain"], self._mesh)
            for data, ranks in groups.items()
            if json.loads(data).keys() == {"text/plain"}
        ]
        if plain:
            self._page.show(Display({"text/plain": "\n".join(plain)}))
        for data, ranks in groups.items():
            if (bundle := json.loads(data)).keys() != {"text/plain"}:
                self._page.show(Display(bundle, self._results[ranks[0]].metadata), ranks)

    def _show_drawn(self) -> None:
        """Show the values that are drawn, each rank's part in one picture."""
        held = {r: value.data[HELD] for r, value in self._results.items() if HELD in value.data}
        if held:
            by_rank = {rank: load(Held, told) for rank, told in sorted(held.items())}
            value = Shown("", by_rank, mesh=self._mesh)
            bundle = {"text/plain": shown.to_text(value), "text/html": shown.to_html(value)}
            self._page.show(Display(bundle))
        for rank in held:
            del self._results[rank]

    def _show_open(self, now: float) -> float:
        """Show unfinished lines; return the seconds until the next may be due."""
        wait = float("inf")
        for key, (text, since) in self._partial.items():
            patience = _BAR_AFTER if "\r" in text or key[0] in self._have_cleared else _OPEN_AFTER
            if now < since + patience:
                wait = min(wait, since + patience - now)
            elif self._page.is_due(now):
                self._page.put(key, overwrite(text))
        return wait
