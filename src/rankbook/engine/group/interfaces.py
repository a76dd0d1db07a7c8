"""The network interface over which this rank talks to the others."""

from __future__ import annotations

import os

from rankbook.engine.host import host

__all__ = ["Interfaces"]

_LOOPBACK = "127.0.0.1"

_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
"""The variables that tell gloo, NCCL's bootstrap and RPC the interface."""


class Interfaces:
    """Sets these variables, except those that the user has set."""

    def __init__(self) -> None:
        self._set: dict[str, str] = {}

    def use(self, address: str) -> None:
        """Bind gloo, NCCL's bootstrap and RPC to the interface on which rank 0 is reached.

        By default gloo takes the address to which the host name resolves, which on many machines
        no other host can reach.

        Args:
            address: The address of rank 0's host.
        """
        if address == _LOOPBACK:
            name = host.interface_of(_LOOPBACK)
        else:
            name = host.interface_of(host.addresses(address)[0])
        for variable in _VARIABLES:
            if os.environ.get(variable) == self._set.get(variable):
                os.environ[variable] = self._set[variable] = name
