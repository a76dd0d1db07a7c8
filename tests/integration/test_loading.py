"""A process that imports what engines need listens meanwhile, and ends when it is given up."""

from __future__ import annotations

import json
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


@contextmanager
def importing(module, stdin, folder):
    """A process that has begun to import torch, which takes its time."""
    begun = folder / "begun"
    (folder / "torch.py").write_text(NEVER.format(begun=str(begun)))
    paths = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=stdin,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    ) as process:
        try:
            while not begun.exists():
                assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("lifeline", [pipe, sockets])
@pytest.mark.parametrize("module", FORKS_ENGINES)
def test_it_ends_while_an_import_still_takes_its_time(module, lifeline, tmp_path):
    with lifeline() as (ours, theirs), importing(module, theirs, tmp_path) as process:
        with ours:
            pass
        assert process.wait(5) == 0


def test_it_says_whether_engines_will_reach_the_notebook_before_they_are_there(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    fork = {"fork": 1, "first": 0}
    module = "rankbook.engine.starting.remote"
    with importing(module, subprocess.PIPE, tmp_path) as process:
        for command in ({"ping": True}, {"reach": ["127.0.0.1", port], **fork}):
            process.stdin.write(json.dumps(command).encode() + b"\n")
        process.stdin.close()
        events = [json.loads(line) for line in process.stdout if line.strip()]
    assert [event["event"] for event in events] == ["pong", "reached"]
    assert events[1]["problem"] == "Connection refused"
