"""An engine that ``mpiexec`` starts: ``python -m rankbook.engine.starting.member OPTIONS``.

Each process of mpiexec is an engine itself, as a program that uses MPI expects. Its id is the
number that mpiexec gives it, plus ``RANKBOOK_FIRST_ENGINE``. It writes events for the notebook's
kernel to its standard output, as :mod:`rankbook.engine.starting.server` does.

mpiexec passes its own standard input to the first process. When that closes, because the kernel is
gone, the first process ends, and mpiexec ends the others. mpiexec kills the processes that it
started; what these have started is ended by a process beside each.
"""

from __future__ import annotations

import os
import sys
import threading

from rankbook.engine.cells.tail import LOG_VARIABLE
from rankbook.engine.processes import orphans
from rankbook.engine.starting import files

__all__ = ["FIRST_VARIABLE", "main"]

FIRST_VARIABLE = "RANKBOOK_FIRST_ENGINE"

_NUMBERS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")
"""Variables of Open MPI, PMIx and MPICH with the number of this process."""


def main() -> None:
    """Be an engine until the notebook's kernel, or mpiexec, ends it."""
    number = next((int(os.environ[name]) for name in _NUMBERS if name in os.environ), None)
    if number is None:
        sys.exit(
            f"mpiexec does not say which process this is: it sets none of {', '.join(_NUMBERS)}"
        )
    orphans.guard()
    if number == 0:
        threading.Thread(target=_watch, args=(os.dup(0),), daemon=True).start()
    from rankbook.engine.starting import loading, server

    loading.load()
    events = os.dup(1)
    # Never closed: Open MPI closes the standard input of a process that has closed its output.
    os.dup(1)
    log = files.open_unnamed()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ[LOG_VARIABLE] = files.OWN
    os.environ.pop("IPP_PROFILE_DIR", None)  # it belongs to the notebook
    first = int(os.environ.get(FIRST_VARIABLE, "0"))
    status = server.run_engine([f"--IPEngine.id={first + number}", *sys.argv[1:]], events)
    files.remove_all()  # when one ends, all do
    os._exit(status)


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 4096):
        pass
    files.remove_all()
    os._exit(1)  # mpiexec ends the others when one fails


if __name__ == "__main__":
    main()
