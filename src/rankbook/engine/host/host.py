"""Memory use of this process, and how other hosts reach its host."""

from __future__ import annotations

import socket
import sys
from functools import cache
from pathlib import Path

from rankbook.engine.host import cgroups
from rankbook.models import GroupInfo

__all__ = ["addresses", "gpu_memory", "interface_of", "memory", "memory_total"]

_ROOT = Path("/")


def memory() -> int:
    """Resident memory of this process, bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


@cache
def memory_total() -> int:
    """Memory of this host, or the limit of a container or a job, bytes."""
    import psutil

    return min([int(psutil.virtual_memory().total), *cgroups.memory(_ROOT)])


def gpu_memory(info: GroupInfo | None) -> int | None:
    """Memory that torch holds on this rank's GPU, bytes; None where CUDA is not in use.

    Args:
        info: The engine's place in the group, None if it has none.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    # Each thread has its own current device, and the control thread never chose one.
    device = info.device if info is not None and info.device.startswith("cuda") else None
    return int(torch.cuda.memory_reserved(device))


def addresses(towards: str) -> tuple[str, ...]:
    """IPv4 addresses of this host, without loopback.

    Args:
        towards: An address of the controller; the source address of a packet to it is most likely
            to be reachable by others, and comes first.
    """
    import psutil

    found = [
        a.address
        for nics in psutil.net_if_addrs().values()
        for a in nics
        if a.family == socket.AF_INET and not a.address.startswith("127.")
    ]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
            first = probe.getsockname()[0]
        except OSError:
            first = ""
    return tuple(sorted(found, key=lambda address: address != first))


def interface_of(address: str) -> str:
    """The network interface that has an address.

    Raises:
        LookupError: No interface of this host has it.
    """
    import psutil

    for name, nics in psutil.net_if_addrs().items():
        if any(a.address == address for a in nics):
            return name
    raise LookupError(f"no interface of {socket.gethostname()} has the address {address}")
