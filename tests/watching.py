"""What the watch of a running cell has seen of its ranks, look by look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import wait_until

from rankbook import Session
from rankbook.models import Diagnosis
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.cells.watch import Watch

__all__ = ["ENOUGH", "left_alone", "looks"]

SOON = 20.0

ENOUGH = 4
"""Looks after which a watch that takes a cell for hopeless has said so."""


@contextmanager
def looks() -> Iterator[list[Diagnosis]]:
    """Collect what each look at a cell has found: those who let a rank be late wait for some."""
    found: list[Diagnosis] = []
    pause = Watch.pause

    def seen(watch, progress):
        before = watch.diagnosis
        seconds = pause(watch, progress)
        if watch.diagnosis is not None and watch.diagnosis is not before:
            found.append(watch.diagnosis)
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "pause", seen)
        yield found


def left_alone(
    session: Session,
    sign: Path,
    code: str,
    meanwhile: Callable[[], object] = bool,
    enough: int = ENOUGH,
) -> tuple[CellResult, list[Diagnosis]]:
    """Run a cell in which a rank waits for a file, which comes when the watch has looked often.

    Args:
        session: The ranks.
        sign: The file.
        code: The cell: nothing is wrong with it, and it is to end well.
        meanwhile: What to do besides, again and again.
        enough: So often: less where no rank is seen to wait for others, which makes looks rare.

    Returns:
        What came of the cell, and what the watch has found.
    """
    results = []
    with looks() as seen:
        thread = session.in_background(lambda: results.append(session.run(code)))

        def are_enough():
            meanwhile()
            return len(seen) >= enough or not thread.is_alive()

        try:
            wait_until(are_enough)
        finally:
            sign.touch()
            thread.join(SOON)
    [result] = results
    result.raise_for_error()
    assert len(seen) >= enough
    assert result.diagnosis is None
    return result, seen
