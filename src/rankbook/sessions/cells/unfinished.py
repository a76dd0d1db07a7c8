"""Asking the ranks, after a cell that failed, whether they were stopped amid a training step."""

from __future__ import annotations

from rankbook.models import load
from rankbook.models.groups import Unfinished
from rankbook.models.requests import GetUnfinished
from rankbook.replicas import diverged
from rankbook.sessions.group.carried import listed
from rankbook.sessions.members import Members
from rankbook.words import in_words, sentence_start

__all__ = ["why_useless"]


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
    # An interrupt ends the search as well. To re-create the group is right in either case.
    if unsure := sorted(set(members.living()) & set(call.failures)):
        return f"{sentence_start(in_words(unsure))} did not find out whether a step was cut."
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
