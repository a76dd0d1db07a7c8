"""Ports for servers that are told where to listen."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["reserved"]


@contextmanager
def reserved(count: int = 1) -> Iterator[list[int]]:
    """Ports of loopback that no other program is given until the block ends.

    A port that is only found free, and then let go, can be taken before the server listens there.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            # As servers do: two sockets with this option may share a port while one listens.
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [int(each.getsockname()[1]) for each in sockets]
