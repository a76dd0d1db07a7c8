"""Saving the calls of the ranks as torch's flight recorder does, for its analyser."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rankbook.errors import ReportError
from rankbook.models.report import SavedRecording
from rankbook.trace import flight

if TYPE_CHECKING:
    from rankbook.sessions.view import SessionView

__all__ = ["save"]


def save(session: SessionView, folder: str | os.PathLike[str]) -> SavedRecording:
    """Save it; see :meth:`rankbook.Session.save_recording`."""
    place = Path(folder).expanduser()
    _refuse(place)
    hang = session.hang
    # What ranks do after they were freed shows less.
    looks = dict(hang.looks) if hang is not None and not session.doing else session.looks()
    made = flight.dumps(looks, time.time())
    try:
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(f"{flight.PREFIX}*"):
            left.unlink()
        for rank, dump in made.items():
            path = place / f"{flight.PREFIX}{rank}"
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
                pickle.dump(dump, f)
    except OSError as error:
        raise ReportError(f"Nothing can be saved in {place}: {error.strerror}.") from error
    calls = sum(len(dump["entries"]) for dump in made.values())
    return SavedRecording(str(place), tuple(made), tuple(sorted(set(looks) - set(made))), calls)


def _refuse(place: Path) -> None:
    """Raise if a folder contains anything else: the analyser would take it for a dump."""
    if place.is_file():
        raise ReportError(f"{place} is a file: give a folder, one file per rank is saved there.")
    others = [p.name for p in place.glob("*") if not p.name.startswith(flight.PREFIX)]
    if others:
        raise ReportError(
            f"{place} is not empty ({min(others)}): give a folder of its own, torchfrtrace reads "
            "every file in it."
        )
