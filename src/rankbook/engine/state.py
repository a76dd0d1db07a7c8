"""What this rank does right now, read from the control thread."""

from __future__ import annotations

import linecache
import os
import socket
import sys
import threading
import traceback
from types import FrameType
from typing import Any

__all__ = ["addresses", "memory", "stack", "where"]

_TORCH_DISTRIBUTED = f"{os.sep}torch{os.sep}distributed{os.sep}"


def main_frame() -> FrameType | None:
    """The frame in which the main thread stands."""
    return sys._current_frames().get(threading.main_thread().ident or 0)


def stack() -> list[str]:
    """The main thread's Python stack, formatted, outermost call first."""
    frame = main_frame()
    return traceback.format_stack(frame) if frame else []


def where() -> tuple[str, str]:
    """Where the main thread stands in the user's cell.

    Returns:
        The call of ``torch.distributed`` it is in (empty if none), and the innermost line of the
        cell as ``line 3: dist.all_reduce(x)`` (empty if the cell is not on the stack).
    """
    frame, call, line = main_frame(), "", ""
    while frame is not None:
        code = frame.f_code
        if _TORCH_DISTRIBUTED in code.co_filename:
            # The outermost function of torch.distributed is the one that the person called.
            if not code.co_name.startswith("_") and code.co_name != "wrapper":
                call = code.co_name
        elif "ipykernel_" in code.co_filename or "<ipython-input" in code.co_filename:
            text = linecache.getline(code.co_filename, frame.f_lineno).strip()
            line = f"line {frame.f_lineno}: {text}" if text else f"line {frame.f_lineno}"
            break
        frame = frame.f_back
    return call, line


def memory() -> int:
    """Resident memory of this process, bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def gpu_memory() -> int | None:
    """Memory that torch holds on this rank's GPU, bytes; None where CUDA is not in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.memory_reserved())


def addresses(towards: str) -> tuple[str, ...]:
    """IPv4 addresses of this host, loopback left out.

    Args:
        towards: An address of the controller; the one that a packet to it would leave from is
            the likeliest to be reached by others, and comes first.
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


def snapshot(cell: int | None) -> dict[str, Any]:
    """What the main thread does, in words; ``idle`` when no cell runs."""
    if cell is None:
        return {"state": "idle", "activity": ""}
    call, line = where()
    if call:
        return {"state": "collective", "activity": f"{call} ({line})" if line else call}
    return {"state": "running", "activity": line}
