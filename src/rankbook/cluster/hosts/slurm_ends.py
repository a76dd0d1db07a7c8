"""Why Slurm has ended a job, or a step of one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from rankbook.cluster.hosts.slurm import addresses, ask, is_alive
from rankbook.errors import ClusterError

__all__ = ["why_ended", "why_job_ended", "why_step_ended"]

_REASON = 2.0
"""Seconds for Slurm to say why a step ended."""

_ENDS = {
    "TIMEOUT": "time limit",
    "CANCELLED": "it was cancelled",
    "NODE_FAIL": "a node failed",
    "OUT_OF_MEMORY": "out of memory",
    "PREEMPTED": "it was preempted",
    "DEADLINE": "its deadline",
    "FAILED": "it failed",
    "COMPLETED": "it was released",
    "BOOT_FAIL": "a node did not boot",
}


_WHILE_COMPLETING = {"NodeDown": "NODE_FAIL", "TimeLimit": "TIMEOUT"}
"""What Slurm's reasons mean for a job that it is ending."""


def why_ended(job: str, errors: Callable[[], Sequence[str]]) -> str:
    """Slurm's reason for the end of a job one of whose steps has ended; empty if it goes on.

    Args:
        job: Which.
        errors: Returns what srun has written to its standard error on the nodes of the job.
    """
    until = time.monotonic() + _REASON
    while not (why := why_job_ended(job, errors())):
        if time.monotonic() > until:
            break
        time.sleep(_REASON / 10)
    if not why and not is_alive(job):  # Slurm forgets jobs after a while
        why = why_step_ended(job, errors())
    return why


def why_job_ended(job: str, errors: Sequence[str] = ()) -> str:
    """``Slurm ended job 6: time limit``; empty if it runs, or the reason is unknown.

    Args:
        job: Which.
        errors: What srun wrote to its standard error on the nodes of the job.
    """
    try:
        shown = ask(["scontrol", "--oneliner", "show", "job", job])
    except ClusterError:
        return ""
    state = _field("JobState", shown)
    if state == "COMPLETING":  # while its other nodes end what runs there
        state = _WHILE_COMPLETING.get(_field("Reason", shown), "")
    if state not in _ENDS:
        return ""
    node = _failed_node(errors) or (_down(shown) if state == "NODE_FAIL" else "")
    return f"Slurm ended job {job}: {node or _ENDS[state]}"


def _failed_node(errors: Sequence[str]) -> str:
    """``node n1 failed``, from srun's message; empty if it names none."""
    found = (re.search(r"[Nn]ode failure on (\S+)", line) for line in errors)
    return next((f"node {match[1].rstrip('.')} failed" for match in found if match), "")


def _down(shown: str) -> str:
    """``node n1 failed``, from the states of a job's nodes; empty if none is down."""
    nodes = f"--nodes={_field('NodeList', shown)}"
    try:
        names = addresses(nodes, "--states=down", form="%N")
    except ClusterError:
        return ""
    return f"node {names[0]} failed" if names else ""


def _field(name: str, shown: str) -> str:
    match = re.search(rf"(?:^|\s){name}=(\S+)", shown)
    return match[1] if match else ""


def why_step_ended(job: str, errors: Sequence[str]) -> str:
    """The same from srun's message: ``*** STEP 6.0 ON n1 CANCELLED AT … DUE TO TIME LIMIT ***``.

    Args:
        job: The step's job.
        errors: What srun wrote to its standard error.
    """
    for line in errors:
        if match := re.search(r"CANCELLED AT \S+(?: DUE TO ([A-Z ]+?))? \*\*\*", line):
            why = (match[1] or "").lower()
            return f"Slurm ended job {job}: {why or 'it was cancelled'}"
    if why := _failed_node(errors):
        return f"Slurm ended job {job}: {why}"
    return ""
