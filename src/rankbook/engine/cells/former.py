"""Ending what the last script has left running, before the next one begins.

Its names stay for looking at, and threads with them. But the next run needs the port on which its
server listens, and its watchdog would watch over that run.
"""

from __future__ import annotations

import socket
import socketserver
import weakref
from contextlib import suppress
from typing import Any

from torch.distributed.distributed_c10d import Store

from rankbook.distributed import remote
from rankbook.engine.cells.left import Left

__all__ = ["Former"]

_KINDS = (socket.socket, socketserver.BaseServer, Store)
"""What can listen on a port. A store does for as long as anything refers to it."""


class Former:
    """What the last script has left; at first, nothing."""

    def __init__(self) -> None:
        self._left = Left(set(), set())
        self._names = dict[str, Any]()
        self._listen: list[str] = []
        self._calls = False

    def keep(self, names: dict[str, Any], left: Left, *, calls: bool = False) -> None:
        """Remember what a script has left.

        Args:
            names: Its names, with their values.
            left: Its threads and processes.
            calls: Whether it has begun RPC, and has not shut it down: it failed, say.
        """
        # Not isinstance: it asks objects for their class, and some import things then.
        self._listen = [name for name, one in names.items() if issubclass(type(one), _KINDS)]
        self._names = names if self._listen else {}
        self._left = left
        self._calls = calls

    def end(self, namespace: dict[str, Any]) -> None:
        """End its threads, servers and RPC; processes go on, as under a launcher.

        Args:
            namespace: Where its names are.
        """
        self._left.end_threads()
        if self._calls and remote.has_begun():
            remote.end()
        remote.count_anew()
        stores = [weakref.ref(self._names[name]) for name in self._listen if self._is_store(name)]
        for name in self._listen:
            _remove(name, self._names, namespace)
        if any(store() is not None for store in stores):  # an object of the script may have it, too
            for name in [
                name for name, one in self._names.items() if type(one).__module__ == _MAIN
            ]:
                _remove(name, self._names, namespace)
        self.keep({}, Left(set(), set()))

    def _is_store(self, name: str) -> bool:
        return issubclass(type(self._names.get(name)), Store)


_MAIN = "__main__"
"""The module of a script's own classes."""


def _remove(name: str, names: dict[str, Any], namespace: dict[str, Any]) -> None:
    value = names.pop(name, None)
    if value is not None and namespace.get(name) is value:
        del namespace[name]
    with suppress(Exception):  # it is closed
        if isinstance(value, socketserver.BaseServer):
            value.server_close()
        elif isinstance(value, socket.socket):
            value.close()
