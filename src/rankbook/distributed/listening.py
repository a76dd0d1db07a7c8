"""Listening where a store is served from this process."""

from __future__ import annotations

import errno
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch.distributed exports these, but its stubs do not
    from torch._C._distributed_c10d import Store, TCPStore
else:
    from torch.distributed import Store, TCPStore

__all__ = ["listen", "serve"]

_BACKLOG = 2048


def serve(listener: socket.socket, timeout: timedelta) -> Store:
    """Serve a TCPStore from this process at a socket that listens, which belongs to it from now on.

    Args:
        listener: The socket.
        timeout: Timeout of the store's own waits.
    """
    address, port = listener.getsockname()[:2]
    return TCPStore(
        address,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=timeout,
        # The only way to keep torch's server from listening on every interface.
        master_listen_fd=listener.detach(),
    )


def listen(addresses: list[str], port: int) -> socket.socket:
    """Listen on the first of some addresses of this host that can be bound.

    Raises:
        OSError: The port is in use, or none of the addresses is one of this host.
    """
    fault = OSError(errno.EADDRNOTAVAIL, "no address of this host to listen on")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A port that an earlier job left a moment ago can be taken again.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise
            fault = error
        else:
            return listener
    raise fault
