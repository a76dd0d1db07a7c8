"""Clusters that stay when the notebook's kernel ends: where they are noted, and who uses them.

A keeper (:mod:`rankbook.cluster.keeper`) is a process on the notebook's host that holds the
lifelines that a kernel holds otherwise. It writes a file beside the cluster's connection files,
which only its owner can read, and listens on a socket. A notebook that uses the cluster stays
connected there, so the keeper knows who does, however a kernel ends.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankbook.errors import ClusterError

__all__ = ["Kept", "User", "all_kept", "find", "keep"]

_ANSWER = 5.0
"""Seconds for a keeper to answer."""

_END = 20.0
"""Seconds for it to end everything."""


@dataclass(frozen=True)
class Kept:
    """A cluster that stays."""

    name: str
    """Its id, by which ``%dist_init --cluster-id`` joins it."""
    host: str
    """The host of its controller and keeper."""
    ranks: int
    where: str
    """What it is, in words: ``the local cluster``, ``Slurm's job 8``."""
    since: float
    """Seconds since 1970."""
    hours: float
    """After which it ends if no notebook uses it and no cell runs."""
    users: tuple[str, ...] | None = None
    """Who uses it: pids and folders of notebooks' kernels. None where only its host knows."""


def keep(kept: Kept, connection_file: Path, fds: Sequence[int]) -> User:
    """Start a keeper, and be its first user.

    Args:
        kept: What it keeps.
        connection_file: ``ipcontroller-…-client.json``.
        fds: Descriptors that must stay open while the cluster stays.

    Raises:
        ClusterError: It did not start.
    """
    note = _note(connection_file, kept.name)
    command = [sys.executable, "-m", "rankbook.cluster.keeper", str(note), str(connection_file)]
    process = subprocess.Popen(
        [*command, json.dumps(asdict(kept)), *map(str, fds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=tuple(fds),
        start_new_session=True,
    )
    with process.stdout or nullcontext():
        if process.stdout is None or process.stdout.readline() != b"kept\n":
            raise ClusterError("The cluster cannot be kept: its keeper did not start.")
    # It outlives this process; nobody waits for it.
    process.returncode = 0
    return User(note)


class User:
    """A notebook's connection to a keeper: as long as it lasts, the cluster is in use.

    Args:
        note: The keeper's file.

    Raises:
        ClusterError: The keeper is gone.
    """

    def __init__(self, note: Path) -> None:
        self.note = note
        self._socket = _connected(note)
        _send(self._socket, {"use": f"pid {os.getpid()} in {Path.cwd()}"})

    def close(self) -> None:
        """Leave the cluster to itself; idempotent."""
        self._socket.close()

    def end(self) -> None:
        """Have the keeper let go, and wait for that: the cluster ends unless others hold it."""
        with suppress(OSError):
            _send(self._socket, {"end": True})
        until = time.monotonic() + _END
        while self.note.exists() and time.monotonic() < until:
            time.sleep(0.02)
        self.close()


def all_kept(folders: Sequence[Path]) -> list[Kept]:
    """The kept clusters that are noted in some folders ``security``, oldest first.

    Those of other hosts are as their keepers noted them; what is left of keepers that are gone
    from this one is removed.
    """
    found = []
    for note in sorted(path for folder in folders for path in folder.glob("kept-*.json")):
        try:
            kept = Kept(**json.loads(note.read_text())["kept"])
        except (OSError, ValueError, TypeError):
            continue
        if kept.host == socket.gethostname():
            try:
                kept = _ask_users(note, kept)
            except ClusterError:
                note.unlink(missing_ok=True)
                continue
        found.append(kept)
    return sorted(found, key=lambda each: each.since)


def find(connection_file: Path) -> User | None:
    """Use a kept cluster, found by its connection file for clients; None if it is not kept."""
    name = connection_file.name.removeprefix("ipcontroller-").removesuffix("-client.json")
    note = _note(connection_file, name)
    if not note.exists():
        return None
    with suppress(ClusterError):
        return User(note)
    return None


def _ask_users(note: Path, kept: Kept) -> Kept:
    with _connected(note) as connection:
        _send(connection, {"users": True})
        with suppress(OSError, ValueError):
            users = json.loads(connection.makefile().readline())
            return Kept(**{**asdict(kept), "users": tuple(users)})
    raise ClusterError(f"The keeper of {kept.name} does not answer.")


def _connected(note: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_ANSWER)
    try:
        connection.connect(json.loads(note.read_text())["socket"])
    except (OSError, ValueError, KeyError) as error:
        connection.close()
        raise ClusterError("The cluster's keeper is gone.") from error
    return connection


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _note(connection_file: Path, name: str) -> Path:
    return connection_file.with_name(f"kept-{name}.json")
