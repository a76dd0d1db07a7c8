"""Importing the engines' modules once, in the process from which they are forked."""

from __future__ import annotations

import gc
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

__all__ = ["load", "load_unless_closed"]

_CLOSED = getattr(select, "POLLRDHUP", 0)
"""Asks to be told that the other end of a socket is closed; that of a pipe is told anyway."""


def load() -> None:
    """Import what engines need. When it returns, this process has one thread."""
    # Imports leave hardly any garbage, and collecting takes a seventh of their time.
    gc.disable()
    _import_without_torch()
    _import_with_torch()
    # Keep the collector from touching (and so copying) pages that the engines share.
    gc.freeze()


def load_unless_closed(lifeline: int) -> None:
    """Do the same, and end this process as soon as the other end of a descriptor is closed.

    The imports take seconds, on a busy machine or from a slow disk many, and who has given up must
    not wait for them.
    """
    with _ending_with(lifeline):
        load()


@contextmanager
def _ending_with(lifeline: int) -> Iterator[None]:
    stop_r, stop_w = os.pipe()
    poll = select.poll()
    poll.register(lifeline, _CLOSED)  # nothing is read: what has been written is for later
    poll.register(stop_r, select.POLLIN)

    def watch() -> None:
        if any(fd == lifeline for fd, _ in poll.poll()):
            os._exit(0)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(stop_w, b"\0")
        thread.join()
        os.close(stop_r)
        os.close(stop_w)


def _import_without_torch() -> None:
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
        with suppress(ImportError):
            import_module(name)
    import_module("jupyter_client.localinterfaces").local_ips()

    # An engine's kernel looks for debugpy, whose import takes longer than all else that it does;
    # no front end reaches an engine's debugger. A cell may still import debugpy itself.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    with suppress(ImportError):
        import ipykernel.debugger  # noqa: F401
    del sys.modules["debugpy"]


def _import_with_torch() -> None:
    import rankbook.engine.app  # noqa: F401
    from rankbook import calls
    from rankbook.engine.operations import every_operation

    every_operation()
    calls.prepare()
