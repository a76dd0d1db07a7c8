"""Asking the ranks, after a cell that failed, whether they were stopped amid a training step."""

from __future__ import annotations

import logging

from rankbook.models import load
from rankbook.models.groups import Unfinished
from rankbook.models.requests import GetUnfinished
from rankbook.replicas import diverged
from rankbook.sessions.group.carried import listed
from rankbook.sessions.members import Members

__all__ = ["why_useless"]

logger = logging.getLogger(__name__)


def why_useless(members: Members, *, was_interrupted: bool) -> str | None:
    """Why the group must be re-created though its connections are whole; None if it need not be.

    Empty if that is said once it is re-created.

    Args:
        members: The ranks, which are idle.
        was_interrupted: Whether the cell was interrupted.
    """
    party = members.living()
    call = party.request(GetUnfinished(was_interrupted))
    # Each looks through its memory: longer than for a look at what it does.
    call.wait(party.timing.repair_timeout(len(party)))
    call.forget()
    for rank, failure in call.failures.items():
        logger.warning("rank %d does not know whether a step was cut: %s", rank, failure)
    reports = [load(Unfinished, value) for _, value in sorted(call.values.items())]
    if kinds := dict.fromkeys(kind for report in reports for kind in report.kinds):
        return f"A step of {listed([*kinds])} was cut."
    # An error amid a step of an optimizer, the same on all ranks, has changed the same on all.
    differing = [
        steps
        for _, steps in diverged([report.taken for report in reports])
        if was_interrupted or len(set(steps)) > 1
    ]
    return "" if len(reports) > 1 and differing else None
