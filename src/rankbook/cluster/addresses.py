"""Which address of this host another one reaches."""

from __future__ import annotations

import socket

from rankbook.errors import ClusterError

__all__ = ["LOOPBACK", "address_to"]

LOOPBACK = "127.0.0.1"


def address_to(host: str) -> str:
    """This host's address on the way to another one. Nothing is sent.

    Args:
        host: A name or an address, with a user before it or not.

    Raises:
        ClusterError: There is no way there, or only by IPv6.
    """
    name = host.rpartition("@")[2]
    try:
        found = socket.getaddrinfo(name, 9, socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ClusterError(
            f"There is no way from here to {name} by IPv4 ({error.strerror or error}): give this "
            "host's address for the engines, --address (or address=…)."
        ) from None
