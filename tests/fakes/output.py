"""A display that keeps what a cell shows."""

from __future__ import annotations

from rankbook.errors import PromptError

__all__ = ["Recorder"]


class Recorder:
    """A CellOutput that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[int, object]] = []
        self.running: list[set[int]] = []
        self.notes: list[str] = []
        self.finished = 0
        self.mismatches: list[object] = []

    def event(self, rank, body):
        self.events.append((rank, body))

    def pause(self, running):
        self.running.append(set(running))
        return 0.01

    def note(self, text):
        self.notes.append(text)

    def expect(self, ranks):
        pass

    def mismatch(self, found):
        self.mismatches.append(found)

    def say(self, text):
        self.notes.append(text)

    def ask(self, prompt, *, secret):
        raise PromptError("a test types nothing")

    def finish(self):
        self.finished += 1
