"""What the commands do: each prints, and returns an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from rankbook.cli.ends import End, RefusedError, end_of
from rankbook.cli.finding import acting_on, choose, looking_at, running
from rankbook.cli.printing import for_terminal, say, since
from rankbook.cluster.keeping.running import Running
from rankbook.display import stacks as stacks_view
from rankbook.display import table, verdict
from rankbook.display.cells.cell import LiveOutput
from rankbook.display.cells.screens import TerminalScreen
from rankbook.errors import RankError, SessionError
from rankbook.models import Diagnosis, to_dict
from rankbook.sessions.cells.results import CellResult
from rankbook.sessions.group.filling import Filled
from rankbook.sessions.session import Session
from rankbook.words import sentence_start

__all__ = ["COMMANDS", "SKILL"]

SKILL = "SKILL.md"
"""Beside the package's modules: how a coding agent uses all this."""

_COLOURS = re.compile(r"\x1b\[[\d;]*m")

_FREE = 15.0
"""Seconds for a notebook to free its ranks after a SIGINT; 1 to 3 are usual."""

_LOOK = 0.2
"""Seconds between two looks whether it has."""


def clusters(options: Namespace) -> End:
    """List the clusters that run."""
    found = running()
    text = "\n".join(map(_described, found)) or "No cluster of yours runs on this host."
    say(options, text, [asdict(each) for each in found])
    return End.FINE


def status(options: Namespace) -> End:
    """Show the table of all ranks."""
    with looking_at(_chosen(options)) as session:
        snapshot = session.snapshot()
    say(options, table.to_text(snapshot), to_dict(snapshot))
    return End.DEAD if any(look.state == "gone" for look in snapshot.states) else End.FINE


def why(options: Namespace) -> End:
    """Show what the ranks do or wait for, and why."""
    with looking_at(_chosen(options)) as session:
        if options.save:
            print(session.save_recording(options.save), file=sys.stderr)  # noqa: T201
        found = session.diagnose()
    say(options, verdict.to_text(found), to_dict(found))
    return end_of(found)


def stacks(options: Namespace) -> End:
    """Show where the main threads stand."""
    with looking_at(_chosen(options)) as session:
        found = session.stacks()
    say(options, stacks_view.to_text(found), found)
    return End.FINE


def run(options: Namespace) -> End:
    """Run code on ranks."""
    code = sys.stdin.read() if options.code == "-" else options.code
    with acting_on(_chosen(options), "run it") as (session, _):
        try:
            chosen = session.select(options.ranks)
        except SessionError as error:
            raise RefusedError(End.DEAD, for_terminal(str(error))) from None
        output = None if options.json else LiveOutput(TerminalScreen(), chosen)
        result = session.run(code, list(chosen), options.timeout, output=output)
    if options.json:
        say(options, "", _result(result))
    return _end_of_cell(result, is_quiet=options.json)


def interrupt(options: Namespace) -> End:
    """Free the ranks, by way of the notebook that uses them, if one does."""
    cluster = _chosen(options)
    kernels = [owner for owner in cluster.owners if owner.is_kernel]
    if cluster.owners and not kernels:
        owner = cluster.owners[0]
        raise RefusedError(
            End.NOT_YOURS,
            f"{sentence_start(str(owner))} uses {cluster.name} and is not a notebook: press Ctrl-C "
            f"there, or run `kill -INT {owner.pid}`, which ends a program that does not handle it.",
        )
    if not kernels:
        with acting_on(cluster, "interrupt it") as (session, _):
            was_busy = session.interrupt()
    else:
        was_busy = _interrupt_kernel(cluster, kernels[0].pid)
    text = "Interrupted: the ranks are free." if was_busy else "Nothing runs on any rank."
    say(options, text, {"interrupted": was_busy})
    return End.FINE


def restart(options: Namespace) -> End:
    """Replace ranks."""
    ranks = " ".join(options.ranks) or None
    with acting_on(_chosen(options), "restart ranks") as (session, is_new):
        filled: Filled | None = None
        # Where all had ended, joining has started as many.
        if ranks or not is_new:
            filled = session.restart_ranks(ranks, from_rank=options.source)
        made = f"{session.world_size} ranks, {session.backend}, generation {session.generation}"
        lines = [f"{made}{session.carried or '.'}", str(filled or for_terminal(session.lacking))]
        data = {"generation": session.generation, "world_size": session.world_size}
    say(options, "\n".join(filter(None, lines)), data)
    return End.FINE


def skill(options: Namespace) -> End:
    """Print what a coding agent needs to know."""
    from importlib.resources import files

    text = files("rankbook").joinpath(SKILL).read_text()
    say(options, text.rstrip(), {"skill": text})
    return End.FINE


COMMANDS = {
    command.__name__: command
    for command in (status, why, stacks, run, interrupt, restart, clusters, skill)
}
"""By name."""


def _chosen(options: Namespace) -> Running:
    return choose(options.cluster_id, running())


def _interrupt_kernel(cluster: Running, pid: int) -> bool:
    """Interrupt the cell of a kernel, as its stop button does, and wait until the ranks are free.

    Returns:
        Whether anything ran.

    Raises:
        RefusedError: They are not.
    """
    with looking_at(cluster) as session:
        if not _is_busy(session):
            return False
        os.kill(pid, signal.SIGINT)
        until = time.monotonic() + _FREE
        while time.monotonic() < until:
            time.sleep(_LOOK)
            if not _is_busy(session):
                return True
    raise RefusedError(
        End.ERROR,
        f"The notebook (pid {pid}) did not free its ranks within {_FREE:g} s: to end a cell that "
        "was started with --no-wait, run %dist_interrupt in the notebook.",
    )


def _is_busy(session: Session) -> bool:
    return any(look.state in ("running", "waiting", "stopped") for look in session.states())


def _described(cluster: Running) -> str:
    """``1795-ab on login, since 14:05, used by pid 12 (python -m ipykernel_launcher …)``."""
    owners = " and ".join(map(str, cluster.owners)) or "nobody"
    kept = ", kept" if cluster.is_kept else ""
    return f"{cluster.name} on {cluster.host}{kept}, since {since(cluster.since)}, used by {owners}"


def _end_of_cell(result: CellResult, *, is_quiet: bool) -> End:
    """Print what went wrong; return the exit code."""
    try:
        result.raise_for_error()
    except RankError as error:
        if not is_quiet:
            text = "\n".join(error._render_traceback_())
            shown = text if sys.stderr.isatty() else _COLOURS.sub("", text)
            print(for_terminal(shown), file=sys.stderr)  # noqa: T201
        # Also where the code ran, after a hang of an earlier cell was freed.
        return end_of(result.diagnosis) or End.FAILED
    return End.FINE if result.ok else End.FAILED


def _result(result: CellResult) -> dict[str, Any]:
    found: Diagnosis | None = result.diagnosis
    return {
        "ok": result.ok,
        "ranks": {
            rank: {
                "stdout": done.stdout,
                "stderr": done.stderr,
                "result": done.result_repr,
                "error": to_dict(done.error) if done.error else None,
                "seconds": done.seconds,
            }
            for rank, done in result.items()
        },
        "verdict": to_dict(found) if found else None,
        "note": result.note,
    }
