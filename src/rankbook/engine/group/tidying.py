"""Releasing the memory of a former process group, or of a script."""

from __future__ import annotations

import gc
import threading

from rankbook.engine.host import freed

__all__ = ["tidy"]


def tidy() -> None:
    """Release the former group, in its own thread.

    Tracebacks, and what IPython makes of them, refer to each other and to that group with its
    threads and sockets, until Python's collector happens to find such cycles. It also ends what
    user code has left in them, which may take long: a ``DataLoader`` that has raised for a sample
    waits 5 s for each of its workers. The rank does not wait for it.
    """
    threading.Thread(target=_release, name="rankbook-tidy", daemon=True).start()


def _release() -> None:
    gc.collect()
    freed.release()  # the C library does not return small pieces by itself
