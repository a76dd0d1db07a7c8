"""Letting an editor's debugger attach to this rank."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch.distributed as dist

__all__ = ["attach"]

_listening: list[tuple[str, int]] = []


def attach() -> str:
    """Have debugpy listen on the loopback interface; return where.

    debugpy asks for no password: anyone who can reach a port of this machine can run code in
    the rank.

    Raises:
        ModuleNotFoundError: debugpy is not installed.
    """
    import debugpy

    if not _listening:
        _listening.append(debugpy.listen(("127.0.0.1", 0)))
        sys.breakpointhook = _breakpoint
        _allow_other_debuggers()
    host, port = _listening[0]
    rank = dist.get_rank() if dist.is_initialized() else 0
    return f"rank {rank} (pid {os.getpid()}): attach to {host}:{port}"


def _allow_other_debuggers() -> None:
    """Have debugpy not warn on the rank's stderr where the prompt of %dist_debug sets a trace.

    The prompt works beside it. debugpy (1.6 to 1.8) has no public way to say so; one without this
    name goes on warning.
    """
    tracing = getattr(sys.modules.get("pydevd_tracing"), "TracingFunctionHolder", None)
    if tracing is not None:
        tracing._warn = False


def _breakpoint(*_args: Any, **_options: Any) -> None:
    """Stop in the editor. The cell's own prompt would be traced by both debuggers."""
    import debugpy

    if debugpy.is_client_connected():
        debugpy.breakpoint()
    else:
        print(f"No editor has attached to {_listening[0][0]}:{_listening[0][1]}: going on.")
