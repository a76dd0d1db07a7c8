"""Which connections a program waits for in vain, and ending what it leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from processes import has_ended, wait_until

from rankbook.cluster.launchers.attempts import Attempts, children_of, end_all, name_of

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))"
SLEEP = "import time; time.sleep(100)"


@pytest.fixture
def silent():
    """An address that answers nobody any more: its queue is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.settimeout(0)
            each.connect_ex(listening.getsockname())
        yield listening.getsockname()
        for each in waiting:
            each.close()


def run_beside(code, *arguments):
    """A process whose child runs Python code."""
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    return subprocess.Popen([sys.executable, "-c", script, code, *map(str, arguments)])


@pytest.fixture
def beside():
    started = []

    def start(*arguments):
        started.append(run_beside(*arguments))
        wait_until(lambda: children_of(started[-1].pid))
        return started[-1]

    yield start
    for process in started:
        end_all(children_of(process.pid), timeout=0)
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="another system's queue answers, full or not")
def test_an_address_that_a_child_tries_in_vain_is_named_when_patience_ends(beside, silent):
    process = beside(CONNECT, *silent)
    patient, attempts = Attempts(process.pid, 100), Attempts(process.pid, 0.2)
    wait_until(lambda: attempts.unanswered() == silent)
    assert patient.unanswered() is None


def test_a_program_that_connects_to_nothing_waits_for_nobody(beside):
    process = beside(SLEEP)
    assert Attempts(process.pid, 0).unanswered() is None
    assert Attempts(os.getpid(), 0).unanswered() is None


def test_children_that_do_not_end_by_themselves_are_killed(beside):
    process = beside(SLEEP)
    [child] = children_of(process.pid)
    end_all([child], timeout=0)
    wait_until(lambda: has_ended(child.pid))
    assert process.wait(10) == 0
    assert children_of(process.pid) == []


def test_a_child_that_ends_in_time_is_not_killed(beside):
    process = beside(
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n" + SLEEP
    )
    [child] = children_of(process.pid)
    child.send_signal(signal.SIGTERM)
    end_all([child], timeout=10)
    assert has_ended(child.pid)


def test_an_address_is_said_by_the_name_that_was_given_for_it():
    assert name_of("127.0.0.1", ["no.such.name.invalid", "me@localhost"]) == "me@localhost"
    assert name_of("10.255.255.1", ["localhost"]) == "10.255.255.1"
