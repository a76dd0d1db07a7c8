"""Importing the engines' modules once, in the process from which they are forked."""

from __future__ import annotations

import gc
import json
import os
import select
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from typing import Any

from rankbook.engine.starting.lean import absent, import_ipyparallel

__all__ = ["load", "load_and_listen"]


def load() -> None:
    """Import what engines need. When it returns, this process has one thread."""
    # Imports leave hardly any garbage, and collecting takes a seventh of their time.
    gc.disable()
    _import_without_torch()
    _import_with_torch()
    # Keep the collector from touching (and so copying) pages that the engines share.
    gc.freeze()


def load_and_listen(commands: int, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """Do the same, and listen meanwhile: it takes seconds, on a busy machine or a slow disk many.

    This process ends as soon as the other end of its commands is closed: a notebook that gives up
    the start does not wait for imports.

    Args:
        commands: The descriptor from which lines of JSON are read.
        answer: Called in another thread with each command; returns what is left to do of it.

    Returns:
        What has been read and is left to do, as it would be read.
    """
    stop_r, stop_w = os.pipe()
    with ThreadPoolExecutor(1) as executor:
        heard = executor.submit(_listen, commands, stop_r, answer)
        try:
            load()
        finally:
            os.close(stop_w)
    os.close(stop_r)
    return heard.result()


def _listen(commands: int, stop: int, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    left = rest = b""
    while stop not in (ready := select.select([commands, stop], [], [])[0]) or commands in ready:
        data = os.read(commands, 65536)
        if not data:
            os._exit(0)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if to_do := answer(json.loads(line)):
                left += json.dumps(to_do).encode() + b"\n"
    return left + rest


def _import_without_torch() -> None:
    import_ipyparallel()
    import ipyparallel.engine.app  # noqa: F401

    # Otherwise each engine would do these at its start, several of them on each core.
    for name in (
        "IPython.core.completerlib",
        "IPython.core.logger",
        "IPython.core.magics.execution",
        "IPython.core.oinspect",
        "IPython.extensions.storemagic",
        "tornado.platform.asyncio",
    ):
        import_module(name)
    # The first traceback needs these. After a hang, every rank has one.
    for name in ("stack_data", "pygments.formatters.terminal256", "pygments.styles"):
        with suppress(ImportError):  # tracebacks do without
            import_module(name)
    import_module("jupyter_client.localinterfaces").local_ips()

    # An engine's kernel looks for debugpy, whose import takes longer than all else that it does;
    # no front end reaches an engine's debugger. A cell may still import debugpy itself.
    with absent("debugpy"), suppress(ImportError):
        import ipykernel.debugger  # noqa: F401


def _import_with_torch() -> None:
    import rankbook.engine.app  # noqa: F401
    from rankbook import calls
    from rankbook.engine import operations

    operations.operations_in(operations.ROOMS)
    calls.prepare()
