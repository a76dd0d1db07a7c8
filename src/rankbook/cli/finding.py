"""The cluster that is meant, and a session on it: one that only looks, or one that acts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from IPython.paths import get_ipython_dir

from rankbook.cli.ends import End, RefusedError
from rankbook.cluster.keeping.running import Running, all_running
from rankbook.cluster.pool import Pool
from rankbook.sessions.session import Session
from rankbook.words import agree, sentence_start

__all__ = ["acting_on", "choose", "looking_at", "running"]


def running() -> list[Running]:
    """Your clusters that run on this host, oldest first."""
    return all_running(sorted(Path(get_ipython_dir()).glob("profile_*/security")))


def choose(name: str | None, found: Sequence[Running]) -> Running:
    """The cluster that is meant.

    Args:
        name: Its id, or the path of a connection file; None: the only one.
        found: Those that run.

    Raises:
        RefusedError: There is none, or it is not clear which.
    """
    if name and name.endswith(".json"):
        if not Path(name).expanduser().is_file():
            raise RefusedError(End.NO_CLUSTER, f"There is no connection file {name}.")
        return Running(name, "", name, 0.0)
    chosen = [each for each in found if name in (None, each.name)]
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(each.name for each in found)
    if name:
        those = f"Running: {names}" if names else "None runs"
        raise RefusedError(End.NO_CLUSTER, f"There is no cluster {name!r} on this host. {those}.")
    if not found:
        raise RefusedError(
            End.NO_CLUSTER, "No cluster of yours runs on this host: %dist_init starts one."
        )
    raise RefusedError(End.NO_CLUSTER, f"Several clusters run: give --cluster-id, one of {names}.")


@contextmanager
def looking_at(cluster: Running) -> Iterator[Session]:
    """A session that reads what the ranks do; it changes nothing, and the ranks may hang.

    Raises:
        RefusedError: The engines are in no process group.
        ClusterError: The cluster does not answer.
    """
    pool = Pool.join(connection_file=cluster.connection_file)
    try:
        session = Session(pool)
        if not session.adopt(with_ended=True):
            raise RefusedError(
                End.ERROR,
                f"The engines of {cluster.name} are in no process group together: "
                "`python -m rankbook restart` makes one.",
            )
        yield session
    finally:
        pool.close(leave=True)


@contextmanager
def acting_on(cluster: Running, what: str) -> Iterator[tuple[Session, bool]]:
    """A session that runs code, or changes something.

    Its group is the one that the ranks are in, also if some of them have ended, or a new one.

    Args:
        cluster: Which.
        what: What it is to do, for the one who is told that it must be done elsewhere.

    Yields:
        The session, and whether its group is a new one.

    Raises:
        RefusedError: A living process uses the cluster.
        SessionError: The ranks are busy, though no process here uses them.
    """
    refuse_owned(cluster, what)
    session = Session(Pool.join(connection_file=cluster.connection_file))
    try:
        if is_new := not session.adopt(with_ended=True):
            session.initialize()
        yield session, is_new
    finally:
        session.detach()


def refuse_owned(cluster: Running, what: str) -> None:
    """Raise if a living process uses a cluster.

    Raises:
        RefusedError: The message names it.
    """
    owners = [owner for owner in cluster.owners if owner.pid != os.getpid()]
    if owners:
        who = sentence_start(" and ".join(map(str, owners)))
        their = agree(owners, "its", "their")
        raise RefusedError(
            End.NOT_YOURS,
            f"{who} {agree(owners, 'uses', 'use')} {cluster.name}: {what} in {their} notebook or "
            "script, or end it first.",
        )
