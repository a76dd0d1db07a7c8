"""A process that imports what engines need ends at once when it is given up meanwhile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

FORKS_ENGINES = ["rankbook.engine.starting.server", "rankbook.engine.starting.remote"]

NEVER = "import time\nopen({begun!r}, 'w').close()\nprint(flush=True)\ntime.sleep(600)\n"


@contextmanager
def pipe():
    """Its own end, and that of the process: where the process runs locally."""
    theirs, ours = os.pipe()
    yield os.fdopen(ours, "wb"), theirs
    os.close(theirs)


@contextmanager
def sockets():
    """The same where sshd starts it."""
    ours, theirs = socket.socketpair()
    with theirs:
        yield ours, theirs.fileno()


@pytest.mark.parametrize("lifeline", [pipe, sockets])
@pytest.mark.parametrize("module", FORKS_ENGINES)
def test_it_ends_while_an_import_still_takes_its_time(module, lifeline, tmp_path):
    begun = tmp_path / "begun"
    (tmp_path / "torch.py").write_text(NEVER.format(begun=str(begun)))
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (
        lifeline() as (ours, theirs),
        subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=theirs,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        ) as process,
    ):
        while not begun.exists():
            assert process.stdout.readline()
        with ours:
            pass
        try:
            assert process.wait(5) == 0
        finally:
            process.kill()
