"""Saving a report of a session: asks the ranks at any time, also while a cell hangs."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rankbook import reports
from rankbook._version import __version__
from rankbook.errors import EngineError, SessionError
from rankbook.masking import MASK, is_secret_name, masked, secret_values
from rankbook.models import load, to_dict
from rankbook.models.environment import relevant
from rankbook.models.frames import Standing
from rankbook.models.report import Report, SavedReport
from rankbook.sessions.members import looks
from rankbook.sessions.members.environment import environments

if TYPE_CHECKING:
    from rankbook.sessions.view import SessionView

__all__ = ["gather", "masked_standings", "save"]

_PACKAGES = ("torch", "ipyparallel", "ipykernel", "ipython", "ipywidgets", "anywidget", "numpy")

_PLAIN = frozenset({"group"})
"""Names of process groups: torch derives them from ranks by a hash that looks like a key."""


def save(session: SessionView, path: str | os.PathLike[str]) -> SavedReport:
    """Save a report; see :meth:`rankbook.Session.save_report`."""
    place = reports.refuse(path)  # before the ranks are asked
    report = gather(session, os.environ)
    data, count = _masked_report(report)
    report = replace(load(Report, data), masked=count)
    reports.write(place, report.contents, to_dict(report))
    return SavedReport(str(place), report.contents)


def masked_standings(standings: Mapping[int, Standing]) -> dict[int, Standing]:
    """Mask what looks like a secret in the local variables of ranks.

    ``tokens`` may name a tensor: under the name of a secret, only texts and containers of texts
    are masked whole.
    """
    plain = {rank: _in_pairs(to_dict(standing)) for rank, standing in standings.items()}
    data, _ = masked(plain, secret_values(os.environ.items()))
    return {rank: load(Standing, _in_dicts(one)) for rank, one in data.items()}


def _masked_report(report: Report) -> tuple[dict[str, Any], int]:
    """A report with masked texts, and the number of masked places."""
    data = to_dict(report)
    pairs = {rank: _in_pairs(standing) for rank, standing in data["standings"].items()}
    named = sum(
        text == MASK
        for standing in pairs.values()
        for frame in standing["frames"]
        for _, text in frame["variables"]
    )
    found, count = masked(data | {"standings": pairs}, secret_values(os.environ.items()), _PLAIN)
    standings = {rank: _in_dicts(standing) for rank, standing in found["standings"].items()}
    return found | {"standings": standings}, count + named


def _in_pairs(data: dict[str, Any]) -> dict[str, Any]:
    """A standing with its variables in pairs: a dict would mask all under a secret's name."""
    for frame in data["frames"]:
        frame["variables"] = [
            [name, MASK if is_secret_name(name) and text[:1] in _OF_TEXTS else text]
            for name, text in frame["variables"].items()
        ]
    return data


def _in_dicts(data: dict[str, Any]) -> dict[str, Any]:
    frames = [frame | {"variables": dict(frame["variables"])} for frame in data["frames"]]
    return data | {"frames": frames}


_OF_TEXTS = frozenset("'\"b([{")
"""How the repr of text, bytes, or a container of them begins."""


def gather(session: SessionView, environment: Mapping[str, str]) -> Report:
    """Gather what is known about a session; masks nothing.

    Args:
        session: Busy or not.
        environment: The environment variables of this process.
    """
    snapshot = session.snapshot()
    verdict, seen, stacks, variables = snapshot.verdict, {}, {}, {}
    standings: Mapping[int, Standing] = {}
    with suppress(SessionError):  # the session was shut down, or has no group
        stacks = session.stacks()
        seen = session.looks()
        standings = looks.standings(session.members.living())
        verdict = verdict or session.diagnose()
        with suppress(EngineError):  # engines of another version do not know the request
            variables = environments(session.members.living())
    hang = session.hang
    if hang is not None:  # what ranks do after they were freed shows less
        seen, stacks = dict(hang.looks), {r: list(lines) for r, lines in hang.stacks.items()}
        standings = hang.standings
    return Report(
        made=time.time(),
        host=socket.gethostname(),
        snapshot=snapshot,
        verdict=verdict,
        cell=next(reversed(session.cells), None),
        looks=seen,
        stacks={rank: tuple(frames) for rank, frames in stacks.items()},
        standings=standings,
        versions=_versions(),
        environment=relevant(environment),
        environments=variables,
        before_freed=hang is not None,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "rankbook": __version__}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):  # not every one is needed
            found[package] = metadata.version(package)
    return found | {"system": platform.platform()}
