"""ipyparallel's controller, for a local cluster: ``python -m rankbook.cluster.controller``.

It ends when its stdin closes, so that it never outlives the notebook's kernel.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from ipyparallel.controller.app import IPController

__all__ = ["main"]


def main() -> None:
    """Run a controller until SIGTERM, or until stdin closes."""
    threading.Thread(target=_watch, args=(os.dup(0),), daemon=True).start()
    # multiprocessing's children of the controller (its heart monitor) must not hold the lifeline.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    IPController.launch_instance(sys.argv[1:])


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
