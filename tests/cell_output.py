"""A cell whose output is put on a screen that records it."""

from __future__ import annotations

from screens import RecordingScreen

from rankbook.display.cells.cell import LiveOutput
from rankbook.models.events import Clear, Display, Result, Stream


class Cell:
    """A cell that runs on ranks, with a clock that moves only when told."""

    def __init__(self, n=2, named=None):
        self.screen = RecordingScreen()
        self.now = 50.0
        self.running = set(range(n))
        self.output = LiveOutput(self.screen, range(n), lambda: self.now, named=named)

    def say(self, rank, text, stream="stdout"):
        self.output.event(rank, Stream(stream, text))

    def display(self, rank, data, display_id="", metadata=None, *, update=False):
        self.output.event(rank, Display(data, metadata or {}, display_id, update))

    def update(self, rank, data, display_id):
        self.display(rank, data, display_id, update=True)

    def clear(self, rank, *, wait=False):
        self.output.event(rank, Clear(wait))

    def value(self, rank, text, html=None):
        data = {"text/plain": text} | ({"text/html": html} if html else {})
        self.output.event(rank, Result(data))

    def pause(self, seconds=0.0):
        self.now += seconds
        return self.output.pause(self.running)

    def end(self, *ranks):
        self.running -= set(ranks)

    def finish(self):
        self.running = set()
        self.output.finish()
        return self.screen.lines


def html(text):
    return {"text/plain": text, "text/html": f"<b>{text}</b>"}


def bar(cell, rank, text, stream="stderr"):
    cell.say(rank, f"\r{text}", stream)
