"""A process on another host notices that the notebook has gone, though nothing says so."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from rankbook.engine.starting import lookout
from rankbook.engine.starting.lookout import Lookout


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed, for a test to set."""
    passed = [0.0]
    monkeypatch.setattr(lookout.time, "monotonic", lambda: passed[0])
    return passed


@pytest.fixture
def controller():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_lookout_without_patience_is_never_left(clock, controller):
    made = Lookout()
    assert made.seconds_to_next() is None
    assert made.reach(*controller.getsockname()) == ""
    assert made.seconds_to_next() is None
    clock[0] = 1000
    assert not made.is_left()


def test_without_a_first_command_it_is_left_when_its_patience_ends(clock):
    made = Lookout(40)
    assert made.seconds_to_next() == 40
    clock[0] = 39
    assert not made.is_left()
    clock[0] = 40
    assert made.is_left()


def test_a_process_is_not_left_while_it_reaches_its_controller(clock, controller):
    made = Lookout(40)
    made.reach(*controller.getsockname())
    for clock[0] in (10, 1000, 2000):
        assert made.seconds_to_next() == 0
        assert not made.is_left()
        assert made.seconds_to_next() == 10


def test_a_controller_that_is_away_for_half_a_minute_has_not_gone(clock, controller):
    made = Lookout(40)
    made.reach(*controller.getsockname())
    address = controller.getsockname()
    controller.close()
    for clock[0] in (10, 20, 30, 39):
        assert not made.is_left()
    with socket.create_server(address):
        clock[0] = 41
        assert not made.is_left()
    clock[0] = 82
    assert made.is_left()


def test_why_the_controller_is_not_reached_is_returned(controller):
    address = controller.getsockname()
    controller.close()
    assert Lookout(40).reach(*address) == "Connection refused"


def test_a_process_that_hears_nothing_ends():
    code = (
        "from rankbook.engine.starting.lookout import Lookout\n"
        "from rankbook.engine.starting.server import Server\n"
        "Server(Lookout(0.1)).serve()\nprint('ended')"
    )
    read, write = os.pipe()  # open, and nothing comes
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=read, capture_output=True, timeout=30, check=True
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.stdout == b"ended\n"
