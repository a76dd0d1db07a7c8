"""A cell's output on N ranks, shown while it runs."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection
from typing import Any, Protocol

from rankbook.display import shown, verdict
from rankbook.display.html import caption
from rankbook.display.lines import Item, Merged, Merger
from rankbook.display.region import Region
from rankbook.display.text import alike, overwrite, prefixed
from rankbook.models import Diagnosis, load
from rankbook.models.events import Display, Event, Result, Stream, from_row, to_row
from rankbook.models.meshes import NamedMesh
from rankbook.models.shown import MIME, Held, Shown

__all__ = ["LiveOutput", "Screen"]

_BAR_AFTER = 0.15
"""Seconds after which a line that rewrites itself, a progress bar, is shown as it is."""

_OPEN_AFTER = 1.0
"""The same for any other line without an end: its end mostly arrives within that."""

_REDRAW = 0.1
"""Seconds between two redraws of such lines."""

_LONG = 1000
"""Characters beyond which a line that is rewritten is cut down to what is visible."""


class Screen(Protocol):
    """Where output goes: a notebook, a terminal, a test."""

    def write(self, name: str, text: str) -> None:
        """Append text to ``stdout`` or ``stderr``."""

    def show(
        self, data: dict[str, Any], metadata: dict[str, Any], display_id: str, *, update: bool
    ) -> None:
        """Show a rich display, or put another in its place."""

    def redraw(self, text: str, display_id: str, *, first: bool, final: bool) -> None:
        """Show text that changes in place until it is final."""

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask the person for a line; PromptError where nobody can be asked."""


class LiveOutput:
    """Shows output as :class:`rankbook.sessions.cells.collecting.CellOutput` asks for it."""

    def __init__(
        self,
        screen: Screen,
        ranks: Collection[int],
        clock: Callable[[], float] = time.monotonic,
        mesh: NamedMesh | None = None,
    ) -> None:
        """Show what ranks print.

        Args:
            screen: Where.
            ranks: Those that may print.
            clock: Seconds, monotonic.
            mesh: By whose dimensions ranks are named, where that is possible.
        """
        self._screen = screen
        self._mesh = mesh
        self._clock = clock
        self._merger = Merger(ranks)
        self._partial: dict[tuple[int, str], tuple[str, float]] = {}
        self._region: Region | None = None
        self._next_draw = 0.0
        self._results: dict[int, Result] = {}
        self._ids: dict[tuple[int, str], str] = {}
        self._last: dict[int, str] = {}
        self._owners: dict[str, set[int]] = {}
        self._cleared: set[int] = set()

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
            self._merger.push(rank, Item("display", key), self._clock())

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
        if self._region is not None and key in self._region.open:
            self._region.end(key, line)
        else:
            self._merger.push(key[0], Item(key[1], alike(line, key[1]), line), now)

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
        self._show(merged)
        return min(wait, self._draw_region(now))

    def note(self, text: str) -> None:
        """Show a line that comes from no rank."""
        self._write("stderr", [text])

    def mismatch(self, found: Diagnosis) -> None:
        """Show that ranks have called a collective differently, though nothing hung."""
        self._leave_region()
        bundle = {"text/plain": verdict.to_text(found), "text/html": verdict.to_html(found)}
        self._screen.show(bundle, {}, uuid.uuid4().hex, update=False)

    def say(self, text: str) -> None:
        """Show an answer that comes from no rank."""
        self._write("stdout", [text])

    def ask(self, prompt: str, *, secret: bool) -> str:
        """Ask the person; see :meth:`rankbook.sessions.cells.collecting.CellOutput.ask`."""
        return self._screen.ask(prompt, secret=secret)

    def finish(self) -> None:
        """Show what is left, then the values of the last expression."""
        self.pause(())
        self._show(self._merger.due((), self._clock())[0])
        self._close_region()
        self._show_results()

    def _show(self, merged: list[Merged]) -> None:
        text: list[str] = []
        stream = ""
        for ranks, item in merged:
            if text and item.kind != stream:
                self._write(stream, text)
            if item.kind == "display":
                self._show_display(ranks, from_row(json.loads(item.key)))
            else:
                stream = item.kind
                text.append(prefixed(ranks, item.shown, self._mesh))
        if text:
            self._write(stream, text)

    def _write(self, stream: str, lines: list[str]) -> None:
        self._leave_region()
        self._screen.write(stream, "\n".join(lines) + "\n")
        lines.clear()

    def _show_display(self, ranks: tuple[int, ...], display: Event) -> None:
        if not isinstance(display, Display):  # the output is to be cleared
            self._cleared.update(ranks)
            return
        replaced: dict[str, set[int]] = {}
        new: set[int] = set()
        for rank in ranks:
            known = self._replaces(rank, display)
            (replaced.setdefault(known, set()) if known else new).add(rank)
        self._cleared.difference_update(ranks)
        for local, updated in replaced.items():
            if updated == self._owners[local]:
                self._screen.show(display.data, display.metadata, local, update=True)
            else:
                # Equal displays were shown once; those that now differ get their own.
                self._owners[local] -= updated
                new |= updated
        if new:
            self._show_new(new, display)

    def _replaces(self, rank: int, display: Display) -> str | None:
        """The display here that a rank's display replaces; None for a new one."""
        if not display.update and rank in self._cleared:
            # A notebook would clear the cell's output; here only this rank's is replaced.
            return self._last.get(rank)
        return self._ids.get((rank, display.display_id)) if display.display_id else None

    def _show_new(self, ranks: set[int], display: Display) -> None:
        self._leave_region()
        local = uuid.uuid4().hex
        self._owners[local] = set(ranks)
        for rank in ranks:
            self._last[rank] = local
            if display.display_id:
                self._ids[rank, display.display_id] = local
        self._screen.show(*caption(ranks, self._mesh), uuid.uuid4().hex, update=False)
        self._screen.show(display.data, display.metadata, local, update=False)

    def _show_results(self) -> None:
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
            text = {"text/plain": "\n".join(plain)}
            self._screen.show(text, {}, uuid.uuid4().hex, update=False)
        for data, ranks in groups.items():
            if (bundle := json.loads(data)).keys() != {"text/plain"}:
                self._screen.show(*caption(ranks, self._mesh), uuid.uuid4().hex, update=False)
                metadata = self._results[ranks[0]].metadata
                self._screen.show(bundle, metadata, uuid.uuid4().hex, update=False)

    def _show_drawn(self) -> None:
        """Show the values that are drawn, each rank having its part in one picture."""
        held = {r: value.data[MIME] for r, value in self._results.items() if MIME in value.data}
        if held:
            by_rank = {rank: load(Held, told) for rank, told in sorted(held.items())}
            value = Shown("", by_rank, mesh=self._mesh)
            bundle = {"text/plain": shown.to_text(value), "text/html": shown.to_html(value)}
            self._screen.show(bundle, {}, uuid.uuid4().hex, update=False)
        for rank in held:
            del self._results[rank]

    # -- lines without an end ----------------------------------------------------------------

    def _draw_region(self, now: float) -> float:
        """Redraw the lines that have no end yet; return the seconds until that is due again."""
        due = {key: since + _patience(text) for key, (text, since) in self._partial.items()}
        ready = [key for key, at in due.items() if now >= at]
        if ready and self._region is None:
            self._region = Region()
        if self._region is None:
            return min((at - now for at in due.values()), default=float("inf"))
        if now < self._next_draw:
            return self._next_draw - now
        self._next_draw = now + _REDRAW
        for key in ready:
            self._region.put(key, overwrite(self._partial[key][0]))
        self._redraw(self._region, final=False)
        return _REDRAW

    def _redraw(self, region: Region, *, final: bool) -> None:
        text = region.text(self._mesh)
        if text != region.drawn or final:
            first = region.drawn is None
            self._screen.redraw(text, region.id, first=first, final=final)
            region.drawn = text

    def _leave_region(self) -> None:
        """Close the region once its lines have ended: what follows is shown below it."""
        if self._region is not None and not self._region.open:
            self._close_region()

    def _close_region(self) -> None:
        if self._region is not None:
            self._redraw(self._region, final=True)
            self._region = None


def _patience(line: str) -> float:
    return _BAR_AFTER if "\r" in line else _OPEN_AFTER
