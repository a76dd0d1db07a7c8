"""Clusters that outlive the notebook's kernel: their notes, and their users.

A keeper (:mod:`rankbook.cluster.keeping.keeper`) is a process on the notebook's host that holds the
lifelines that a kernel would otherwise hold. It writes a note, which only its owner can read, next
to the cluster's connection files, and listens on a socket. A notebook that uses the cluster stays
connected to it, so the keeper knows the users, however a kernel ends.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rankbook import folders
from rankbook.cluster.keeping.held import Holding
from rankbook.cluster.processes import isolated, lifelines
from rankbook.errors import ClusterError

__all__ = ["Follower", "Kept", "User", "all_kept", "find", "keep"]

ANSWER = 5.0
"""Seconds for a keeper to answer."""

_END = 20.0
"""Seconds for it to end everything."""


@dataclass(frozen=True)
class Kept:
    """A kept cluster."""

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
    """Hours after which it ends if no notebook uses it and no cell runs."""
    users: tuple[str, ...] | None = None
    """Its users: pids and folders of notebooks' kernels. None where they are unknown."""

    @property
    def cluster_id(self) -> str:
        """The name, as ``connect(cluster_id=…)`` takes it."""
        return self.name


class _GoneError(ClusterError):
    """A keeper has ended. One that does not answer may only be stopped, or its machine busy."""


def keep(kept: Kept, connection_file: Path, holding: Holding) -> User:
    """Start a keeper, and be its first user.

    Args:
        kept: What it keeps.
        connection_file: ``ipcontroller-…-client.json``.
        holding: What it holds; from now on only the keeper reads the output of these processes.

    Raises:
        ClusterError: It did not start.
    """
    from rankbook.models import to_dict  # the extension loads this module without the models

    note = _note(connection_file, kept.name)
    process = subprocess.Popen(
        isolated.command("rankbook.cluster.keeping.keeper"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=holding.fds,
        start_new_session=True,
    )
    # Not on its command line, which others can read: it contains a key.
    given: dict[str, Any] = {"note": str(note), "connection_file": str(connection_file)}
    given |= {"kept": to_dict(kept), "holding": to_dict(holding)}
    with process.stdin or nullcontext() as stdin, process.stdout or nullcontext() as stdout:
        if stdin is not None:
            with suppress(BrokenPipeError):  # it has ended, and its output says why
                stdin.write(json.dumps(given).encode() + b"\n")
                stdin.flush()
        if stdout is None or stdout.readline() != b"kept\n":
            process.wait()
            raise ClusterError("The cluster cannot be kept: its keeper did not start.")
    process.returncode = 0  # it outlives this process, which does not wait for it
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
        lifelines.hold(self._socket)
        try:
            _send(self._socket, {"use": f"pid {os.getpid()} in {folders.here() or '/'}"})
        except BaseException:
            self.close()
            raise

    def follow(self) -> Follower:
        """Follow the fate of the engines from now on.

        Raises:
            ClusterError: The keeper is gone.
        """
        return Follower(_connected(self.note))

    def add(self, n: int) -> set[int]:
        """Have ``n`` more engines forked; return their ids.

        Raises:
            ClusterError: No process can fork any, or the keeper does not answer.
        """
        new = set(_ask(self._socket, {"add": n})["added"])
        if not new:
            raise ClusterError(
                "The process that starts the engines of this kept cluster has ended: run "
                "%dist_shutdown (or shutdown()), which ends the cluster with all variables, then "
                "%dist_init --keep."
            )
        return new

    def kill(self, engines: Collection[int]) -> None:
        """Have engines killed, whatever they do.

        Raises:
            ClusterError: The keeper is gone.
        """
        _send(self._socket, {"kill": sorted(engines)})

    def wait_for_end(self) -> None:
        """Wait, in its own thread, until the keeper has ended."""
        with suppress(ClusterError, OSError), _connected(self.note) as connection:
            connection.settimeout(None)
            connection.recv(1)  # the keeper sends nothing on this connection
        with suppress(OSError, ValueError):  # the user has left
            select.select([self._socket], [], [], _END)  # its sockets close one after the other

    def close(self) -> None:
        """Stop using the cluster; idempotent."""
        self._socket.close()

    def end(self) -> None:
        """Make the keeper let go, and wait for that: the cluster ends unless others hold it."""
        with suppress(ClusterError, OSError):
            _send(self._socket, {"end": True})
            self._socket.settimeout(_END)
            while self._socket.recv(4096):
                pass
            self.note.unlink(missing_ok=True)  # it may have been killed
        self.close()

    @property
    def is_gone(self) -> bool:
        """Whether the keeper has ended: it sends nothing unasked."""
        return self._socket.fileno() < 0 or bool(select.select([self._socket], [], [], 0)[0])


def all_kept(folders: Sequence[Path]) -> list[Kept]:
    """The kept clusters that are noted in some folders ``security``, oldest first.

    Those of other hosts, or of silent keepers, are as noted. Notes of keepers that are gone go.
    """
    found = []
    for note in sorted(path for folder in folders for path in folder.glob("kept-*.json")):
        try:
            kept = Kept(**json.loads(note.read_text())["kept"])
        except (OSError, ValueError, TypeError):  # it is being written or removed, or another's
            continue
        if kept.host == socket.gethostname():
            try:
                kept = _ask_users(note, kept)
            except _GoneError:
                note.unlink(missing_ok=True)
                continue
            except ClusterError:  # it may answer later
                pass
        found.append(kept)
    return sorted(found, key=lambda each: each.since)


def find(connection_file: Path) -> User | None:
    """Use a kept cluster, found by its connection file for clients; None if it is not kept.

    Raises:
        ClusterError: Its keeper does not answer.
    """
    name = connection_file.name.removeprefix("ipcontroller-").removesuffix("-client.json")
    note = _note(connection_file, name)
    if note.exists():
        with suppress(_GoneError):  # its keeper has ended, and left the note
            return User(note)
    return None


class Follower:
    """A connection on which a keeper reports the fate of the engines.

    Args:
        connection: To the keeper.

    Raises:
        ClusterError: The keeper does not answer.
    """

    def __init__(self, connection: socket.socket) -> None:
        try:
            state = _ask(connection, {"follow": True})
        except BaseException:
            connection.close()
            raise
        self.state = state
        """The initial state; :mod:`rankbook.cluster.keeping.keeper` describes it."""
        connection.settimeout(None)
        self._socket = connection

    def events(self) -> Iterator[dict[str, Any]]:
        """Events as they happen; ends when the keeper does, or on :meth:`close`."""
        with suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            yield from map(json.loads, lines)  # until either end is closed

    def close(self) -> None:
        """Stop following; idempotent, and from any thread."""
        with suppress(OSError):  # the keeper has closed it first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _ask_users(note: Path, kept: Kept) -> Kept:
    with _connected(note) as connection:
        answer = _ask(connection, {"users": True})
        return replace(kept, users=tuple(answer["users"]), ranks=answer["ranks"])


def _connected(note: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(ANSWER)
    try:
        connection.connect(json.loads(note.read_text())["socket"])
    except (OSError, ValueError, KeyError) as error:
        connection.close()
        raise _problem(error) from error
    return connection


def _problem(error: Exception) -> ClusterError:
    """The meaning of an error of a connection: its keeper has ended, or is only silent."""
    if isinstance(error, (FileNotFoundError, ConnectionError)):
        return _GoneError("The cluster's keeper is gone.")
    return ClusterError("The keeper of this kept cluster does not answer: try again.")


def _ask(connection: socket.socket, message: dict[str, Any]) -> dict[str, Any]:
    """Send a message, and read the answer, one line."""
    _send(connection, message)
    answer = b""
    try:
        # Byte by byte: later data is not for this reader.
        while not answer.endswith(b"\n"):
            if not (byte := connection.recv(1)):
                raise ConnectionResetError
            answer += byte
    except OSError as error:
        raise _problem(error) from error
    return dict(json.loads(answer))


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except OSError as error:
        raise _problem(error) from error


def _note(connection_file: Path, name: str) -> Path:
    return connection_file.with_name(f"kept-{name}.json")
