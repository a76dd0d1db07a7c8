"""The address of this host that another host reaches."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

import psutil

from rankbook.errors import ClusterError, InputError

__all__ = ["LOOPBACK", "address_to", "is_loopback", "refuse_foreign", "seen_from"]

LOOPBACK = "127.0.0.1"


def address_to(host: str) -> str:
    """This host's address on the way to another one. Nothing is sent.

    Args:
        host: A name or an address, with or without a user.

    Raises:
        ClusterError: Its name is not known, there is no way there, or only by IPv6.
    """
    name = host.rpartition("@")[2]
    try:
        found = socket.getaddrinfo(name, 9, socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(found[0][4])
            return str(probe.getsockname()[0])
    except OSError as error:
        if not _is_known(name):
            raise ClusterError(
                f"{name} is not known here ({error.strerror}): correct the name, or if ssh alone "
                "knows it, give this host's address for the engines, --address (or address=…)."
            ) from None
        raise ClusterError(
            f"There is no way from here to {name} by IPv4 ({error.strerror or error}): give this "
            "host's address for the engines, --address (or address=…)."
        ) from None


def _is_known(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def seen_from(host: str, client: str, resolve: Callable[[str], str] = str) -> str:
    """This host's IPv4 address, as seen by a host that it has logged in to.

    If the login used IPv6, or came through another host (a jump host, a router that translates
    addresses), the address is that of the IPv4 route.

    Args:
        host: What was given to log in: a name or an address, with a user before it or not.
        client: The source address of the login, as the host reports it.
        resolve: Tells the name or address behind what was given.

    Raises:
        ClusterError: The host does not say, or there is no such address.
    """
    if not client:
        raise ClusterError(
            f"{host} does not say from where it is reached (SSH_CONNECTION is empty): give this "
            "host's address, --address."
        )
    is_ipv6 = ipaddress.ip_address(client).version == 6  # noqa: PLR2004
    if not is_ipv6 and (is_loopback(client) or client in _own()):
        return client
    try:
        return address_to(resolve(host))
    except ClusterError:
        if is_ipv6:
            how = f"by IPv6 only ({client}), and ipyparallel's connections need IPv4"
        else:
            how = f"through {client}, which is not this host"
        raise ClusterError(
            f"{host} is reached {how}: give this host's IPv4 address, as {host} reaches it, "
            "--address."
        ) from None


def is_loopback(address: str) -> bool:
    """Whether no other host reaches an address."""
    return address.startswith("127.")


def _own() -> list[str]:
    """This host's IPv4 addresses."""
    every = [one for ones in psutil.net_if_addrs().values() for one in ones]
    return [one.address for one in every if one.family == socket.AF_INET]


def refuse_foreign(address: str) -> None:
    """Refuse an address that does not belong to this host.

    Raises:
        InputError: It does not; the message lists those that others may reach.
    """
    own = _own()
    if address not in own:
        others = ", ".join(sorted(one for one in own if not is_loopback(one)))
        raise InputError(
            f"{address} is no IPv4 address of this host, which has {others or 'none'}: leave out "
            "--address (or address=…), and the one to take is found."
        )
