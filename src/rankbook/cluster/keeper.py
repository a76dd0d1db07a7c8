"""Keeps a cluster when the notebook's kernel ends: ``python -m rankbook.cluster.keeper``.

The processes of a cluster end when their standard input closes. This one holds the other ends of
these pipes open, beside the kernel, until it is told to let go, or until no notebook has used the
cluster for some hours and no cell runs. It also holds, and reads once the kernel is gone, what they
write: a full pipe would stop them, a closed one would end ``ssh``.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Keeper", "main"]

_LOOKS = 40
"""How often it looks, within the idle limit, whether a cell runs."""


class Keeper:
    """Holds descriptors and answers notebooks, until nobody needs the cluster.

    Args:
        note: The file that says that the cluster is kept.
        connection_file: By which the cluster is asked whether a cell runs.
        kept: What the note says; see :class:`rankbook.cluster.kept.Kept`.
        fds: What is held.
    """

    def __init__(
        self, note: Path, connection_file: Path, kept: dict[str, Any], fds: list[int]
    ) -> None:
        self._note, self._connection_file = note, connection_file
        self._limit = kept["hours"] * 3600
        self._fds = fds
        self._users: dict[socket.socket, str] = {}
        self._selector = selectors.DefaultSelector()
        self._used = time.monotonic()
        self._is_draining = False
        self._folder = tempfile.mkdtemp(prefix="rankbook-kept-")  # mode 0700, and a short path
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(f"{self._folder}/socket")
        self._door.listen()
        self._selector.register(self._door, selectors.EVENT_READ)
        text = json.dumps({"kept": kept, "socket": f"{self._folder}/socket"})
        with os.fdopen(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)

    def run(self) -> None:
        """Serve until the cluster is needed no more, then let go of it."""
        try:
            while self._serve():
                pass
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._note.unlink(missing_ok=True)

    def _serve(self) -> bool:
        """Wait for what comes next; return whether to go on."""
        for key, _ in self._selector.select(max(0.05, min(30.0, self._limit / _LOOKS))):
            if key.fileobj is self._door:
                self._selector.register(self._door.accept()[0], selectors.EVENT_READ)
            elif isinstance(key.fileobj, socket.socket):
                if not self._answer(key.fileobj):
                    return False
            elif not os.read(key.fd, 65536):
                self._selector.unregister(key.fd)
        if self._users:
            self._used = time.monotonic()
        elif time.monotonic() - self._used > self._limit:
            if not self._is_busy():
                return False
            # A cell still ran at this look: begin to count again.
            self._used = time.monotonic()
        return True

    def _answer(self, connection: socket.socket) -> bool:
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._leave(connection)
            return True
        for line in data.splitlines():
            message = json.loads(line)
            if "use" in message:
                self._users[connection] = message["use"]
            elif "users" in message:
                with suppress(OSError):
                    connection.sendall(json.dumps(list(self._users.values())).encode() + b"\n")
            elif "end" in message:
                return False
        return True

    def _leave(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        if self._users.pop(connection, None) is None or self._is_draining:
            return
        # The first user is the kernel that started the cluster, which read these until now.
        self._is_draining = True
        for fd in self._fds:
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                self._selector.register(fd, selectors.EVENT_READ)

    def _is_busy(self) -> bool:
        """Whether a cell runs on some rank."""
        from rankbook.cluster.channel import everyone
        from rankbook.cluster.pool import Pool
        from rankbook.errors import RankbookError
        from rankbook.models import Look, load
        from rankbook.models.requests import LookAt

        try:
            pool = Pool.join(connection_file=self._connection_file)
        except RankbookError:
            return False
        try:
            call = pool.channel.request(everyone(pool.engines, LookAt()))
            pool.channel.wait(call, 5)
            looks = [load(Look, value) for value in call.values.values()]
            return any(look.state != "idle" for look in looks)
        except RankbookError:
            return False
        finally:
            pool.close(leave=True)


def main() -> None:
    """Keep a cluster; see :func:`rankbook.cluster.kept.keep` for the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    note, connection_file, kept, *fds = sys.argv[1:]
    keeper = Keeper(Path(note), Path(connection_file), json.loads(kept), [int(fd) for fd in fds])
    os.write(1, b"kept\n")
    keeper.run()


if __name__ == "__main__":
    main()
