"""Keeps a cluster when the notebook's kernel ends: ``python -m rankbook.cluster.keeping.keeper``.

The processes of a cluster end when their standard input closes. This one, like the kernel, holds
the other ends of these pipes open, until it is told to let go, or until no notebook has used the
cluster for some hours and no cell runs. From its start it is also the only reader of their output:
it passes that on to the launcher that started them, and reports the fate of engines to every
notebook that follows.

Notebooks connect to its socket, in a folder that only its owner can enter. Messages are lines of
JSON. A notebook sends:

- ``{"use": "pid 12 in /home/me"}``: as long as the connection lasts, it uses the cluster;
- ``{"users": true}`` is answered by ``{"users": [...], "ranks": 4}``;
- ``{"follow": true}`` is answered by ``{"size": 2, "living": [0, 1], "next": 2, "forkers": 1,
  "ended": {"3": -9}, "log": "..."}``, then by each ``ready`` and ``ended`` of
  :mod:`rankbook.engine.starting.server`, and when a process that forks has ended by
  ``{"event": "lost", "engines": [2, 3], "why": "n2 was lost", "forkers": 1}``;
- ``{"add": 2}`` forks engines, and is answered by ``{"added": [4, 5]}``: none if nothing can;
- ``{"kill": [1]}`` kills engines;
- ``{"end": true}`` has it let go.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rankbook.cluster.keeping.held import Held, Holding
from rankbook.cluster.keeping.kept import Kept
from rankbook.models import load

__all__ = ["Keeper", "main"]

_LOOKS = 40
"""How often it looks, within the idle limit, whether a cell runs."""


@dataclass(eq=False)
class _Connection:
    """The connection of a notebook, or of the launcher that started the processes."""

    socket: socket.socket
    received: bytes = b""
    """The received part of an unfinished line."""
    unsent: bytes = b""
    """Data to be sent: the keeper does not wait for a slow or stopped reader."""
    user: str = ""
    """The user of the cluster on this connection; empty if none."""
    follows: bool = False
    is_ending: bool = False
    """Whether to close it once everything has been sent."""


@dataclass(frozen=True)
class _Output:
    """The standard output of a process that forks engines."""

    forker: int
    fd: int
    relay: _Connection


class Keeper:
    """Holds descriptors and answers notebooks, until the cluster is no longer needed.

    Args:
        note: The file that says that the cluster is kept.
        connection_file: The connection file for asking the cluster whether a cell runs.
        kept: The content of the note.
        holding: The initial state.
    """

    def __init__(self, note: Path, connection_file: Path, kept: Kept, holding: Holding) -> None:
        self._note, self._connection_file = note, connection_file
        self._limit = kept.hours * 3600
        self._held = Held(holding)
        self._commands = [one.commands for one in holding.forkers]
        self._connections: set[_Connection] = set()
        self._parts: dict[int, bytes] = {}
        self._selector = selectors.DefaultSelector()
        self._used = time.monotonic()
        for n, one in enumerate(holding.forkers):
            relay = self._connect(socket.socket(fileno=one.relay))
            self._selector.register(one.lines, selectors.EVENT_READ, _Output(n, one.lines, relay))
        self._folder = tempfile.mkdtemp(prefix="rankbook-kept-")  # mode 0700, and a short path
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(f"{self._folder}/socket")
        self._door.listen()
        self._selector.register(self._door, selectors.EVENT_READ)
        text = json.dumps({"kept": asdict(kept), "socket": f"{self._folder}/socket"})
        # At once, over the note of a keeper that this one replaces: others may read it meanwhile.
        part = note.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        part.replace(note)

    def run(self) -> None:
        """Serve until the cluster is no longer needed, then let go of it."""
        try:
            while self._serve():
                pass
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._note.unlink(missing_ok=True)
            for connection in self._connections.copy():
                self._leave(connection)
            self._door.close()
            self._selector.close()

    def _serve(self) -> bool:
        """Wait for the next event, and handle it; return whether to go on."""
        for key, events in self._selector.select(max(0.05, min(30.0, self._limit / _LOOKS))):
            if isinstance(key.data, _Output):
                self._pass_on(key.data)
            elif not isinstance(key.data, _Connection):
                self._connect(self._door.accept()[0])
            elif key.data in self._connections:
                if events & selectors.EVENT_WRITE:
                    self._flush(key.data)
                if events & selectors.EVENT_READ and not self._hear(key.data):
                    return False
        if any(each.user for each in self._connections):
            self._used = time.monotonic()
        elif time.monotonic() - self._used > self._limit:
            if not self._is_busy():
                return False
            # A cell was still running: start counting again.
            self._used = time.monotonic()
        return True

    # -- the processes -----------------------------------------------------------------------

    def _pass_on(self, output: _Output) -> None:
        """Pass a process's output on: unchanged to its launcher, as events to followers."""
        data = os.read(output.fd, 65536)
        if not data:
            self._selector.unregister(output.fd)
            output.relay.is_ending = True
            self._send(output.relay, b"")
            self._tell_followers(self._held.lose(output.forker))
            return
        self._send(output.relay, data)
        *lines, rest = (self._parts.get(output.forker, b"") + data).split(b"\n")
        self._parts[output.forker] = rest
        for line in lines:
            if (event := self._held.take(output.forker, line)) is not None:
                self._tell_followers(event)

    def _command(self, commands: Mapping[int, Mapping[str, Any]]) -> None:
        for forker, command in commands.items():
            fd = self._commands[forker]
            # A process that does not read, because its host is down, must not block this one.
            if select.select([], [fd], [], 0)[1]:
                with suppress(OSError):  # it has ended, which its output will say
                    os.write(fd, json.dumps(command).encode() + b"\n")

    # -- notebooks ---------------------------------------------------------------------------

    def _connect(self, connected: socket.socket) -> _Connection:
        connected.settimeout(0)
        connection = _Connection(connected)
        self._connections.add(connection)
        self._selector.register(connected, selectors.EVENT_READ, connection)
        return connection

    def _hear(self, connection: _Connection) -> bool:
        """Read and obey a connection's messages; return whether to go on."""
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            self._leave(connection)
            return True
        *lines, connection.received = (connection.received + data).split(b"\n")
        return all(self._obey(connection, json.loads(line)) for line in lines)

    def _obey(self, connection: _Connection, message: Mapping[str, Any]) -> bool:
        if "use" in message:
            connection.user = message["use"]
        elif "users" in message:
            users = [each.user for each in self._connections if each.user]
            self._tell(connection, {"users": users, "ranks": len(self._held.living)})
        elif "follow" in message:
            connection.follows = True
            self._tell(connection, self._held.state())
        elif "add" in message:
            ids, commands = self._held.add(message["add"])
            self._command(commands)
            self._tell(connection, {"added": ids})
        elif "kill" in message:
            self._command(self._held.kill(message["kill"]))
        return "end" not in message

    def _tell_followers(self, message: Mapping[str, Any]) -> None:
        for connection in [each for each in self._connections if each.follows]:
            self._tell(connection, message)

    def _tell(self, connection: _Connection, message: Mapping[str, Any]) -> None:
        self._send(connection, json.dumps(message).encode() + b"\n")

    def _send(self, connection: _Connection, data: bytes) -> None:
        if connection in self._connections:
            connection.unsent += data
            self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent)
            connection.unsent = connection.unsent[sent:]
            is_over = connection.is_ending and not connection.unsent
        except BlockingIOError:
            is_over = False
        except OSError:  # it is gone
            is_over = True
        if is_over:
            self._leave(connection)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        self._selector.modify(connection.socket, events, connection)

    def _leave(self, connection: _Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
            self._selector.unregister(connection.socket)
            connection.socket.close()

    def _is_busy(self) -> bool:
        """Whether a cell runs on some rank."""
        from rankbook.cluster.pool import Pool
        from rankbook.cluster.transport.channel import everyone
        from rankbook.errors import RankbookError
        from rankbook.models import Look
        from rankbook.models.requests import LookAt

        try:
            pool = Pool.join(connection_file=self._connection_file, is_used=False)
        except RankbookError:
            return False
        try:
            # The controller lists an ended engine until it has missed its heartbeats.
            living = set(pool.engines) & set(self._held.living)
            call = pool.channel.request(everyone(living, LookAt()))
            pool.channel.wait(call, 5)
            looks = [load(Look, value) for value in call.values.values()]
            return any(look.state != "idle" for look in looks)
        except RankbookError:
            return False
        finally:
            pool.close(leave=True)


def main() -> None:
    """Keep a cluster; :func:`rankbook.cluster.keeping.kept.keep` writes the standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    given = json.loads(sys.stdin.readline())
    keeper = Keeper(
        Path(given["note"]),
        Path(given["connection_file"]),
        load(Kept, given["kept"]),
        load(Holding, given["holding"]),
    )
    os.write(1, b"kept\n")
    keeper.run()


if __name__ == "__main__":
    main()
