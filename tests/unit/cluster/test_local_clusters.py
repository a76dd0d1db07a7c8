"""Local clusters as ipyparallel sees them: the controller's ports, engines of another process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial

import pytest
import zmq
from processes import wait_until

from rankbook.cluster.launchers.base import Ended, Ready
from rankbook.cluster.launchers.forking import LocalEngines
from rankbook.cluster.launchers.local import LocalLauncher
from rankbook.cluster.processes import warm as module
from rankbook.cluster.processes.controller import Controller
from rankbook.cluster.processes.warm import WarmProcess
from rankbook.errors import ClusterError


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port cannot be kept")
def test_a_port_is_kept_for_zeromq_from_everybody_else():
    controller = Controller()
    ports = [controller.next_port("engine") for _ in range(20)]
    assert len(set(ports)) == 20
    for port in ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as queue:
        queue.bind(f"tcp://127.0.0.1:{ports[0]}")
        with socket.create_connection(("127.0.0.1", ports[0]), timeout=5):
            pass
    for keeper in controller._reserved:
        keeper.close()


def test_the_end_of_engines_that_another_process_started_can_be_logged(tmp_path):
    engines = LocalEngines(profile_dir=str(tmp_path), cluster_id="x")
    engines.state = "running"
    engines.notify_stop({"exit_code": 0})
    assert engines.state == "after"


# -- the process that engines are forked from ------------------------------------------------


@pytest.fixture
def warm(monkeypatch):
    """Such a process, that says what it is told and ends when its stdin closes."""
    echo = partial(subprocess.Popen, ["cat"])
    monkeypatch.setattr(module, "Popen", lambda command, **options: echo(**options))
    warm = WarmProcess()
    yield warm
    warm.close()


@pytest.fixture
def engines(warm, tmp_path):
    """Two engines, of which the process has not reported anything yet."""
    engines = LocalEngines(profile_dir=str(tmp_path), cluster_id="x", warm=warm)
    engines._popen_process, engines.lifeline = warm.process, warm.process.stdin
    engines._next = 0
    engines._note({0, 1})
    return engines


def test_closing_a_process_that_another_thread_reads_from_ends_that_thread_in_order(warm):
    read = []
    reading = threading.Thread(target=lambda: read.extend(warm.lines()))
    reading.start()
    warm.process.stdin.write(b"said\n")
    warm.process.stdin.flush()
    wait_until(lambda: read, 10)
    warm.close()
    reading.join(10)
    assert not reading.is_alive()
    assert read == [b"said\n"]
    assert warm.process.stdout.closed


def test_closing_a_process_that_no_thread_reads_from_closes_its_pipes(warm):
    warm.close()
    assert warm.process.stdout.closed
    assert list(warm.lines()) == []


def say(warm, text):
    warm.process.stdin.write(text)
    warm.process.stdin.flush()


def test_a_lent_pipe_of_the_forking_process_is_read_by_the_borrower_alone_and_here_again_afterwards(
    warm,
):
    read = []
    reading = threading.Thread(target=lambda: read.extend(warm.lines()))
    reading.start()
    relay = warm.lend()
    say(warm, b"to the borrower\n")
    _, output = warm.fds()
    assert os.read(output, 100) == b"to the borrower\n"
    relay.sendall(b"passed on\n")
    wait_until(lambda: read == [b"passed on\n"], 10)
    relay.close()
    say(warm, b"here again\n")
    wait_until(lambda: read[1:] == [b"here again\n"], 10)
    warm.close()
    reading.join(10)
    assert not reading.is_alive()


def test_lines_of_the_forking_process_that_are_left_to_a_borrower_are_not_read_here_again(warm):
    reading = threading.Thread(target=lambda: list(warm.lines()))
    reading.start()
    relay = warm.lend()
    warm.leave()
    reading.join(10)
    assert not reading.is_alive()
    relay.close()


def test_a_process_that_has_ended_cannot_be_lent(warm):
    warm.process.kill()
    assert list(warm.lines()) == []
    with pytest.raises(OSError, match=r"."):
        warm.lend()


def test_an_engine_that_a_keeper_has_added_is_known_and_its_id_not_given_again(engines, warm):
    say(warm, b'{"event": "ready", "engine": 4, "uuid": "u"}\n')
    assert next(engines.events()) == Ready(4, "u")
    assert (engines.n, engines.next_id) == (3, 5)


def test_engines_are_reported_ready_and_ended_in_order(engines, warm):
    warm.process.stdin.write(
        b'{"event": "ready", "engine": 1, "uuid": "u"}\n'
        b'{"event": "ended", "index": 1, "pid": 12, "status": 3}\n'
    )
    warm.process.stdin.flush()
    events = engines.events()
    assert not engines.was_ready
    assert next(events) == Ready(1, "u")
    assert engines.was_ready
    assert next(events) == Ended(1, 3)
    assert engines.n == 1
    warm.close()
    assert list(events) == [Ended(0, -signal.SIGKILL)]
    assert engines.n == 0


@pytest.fixture
def launcher(engines):
    launcher = LocalLauncher(2)
    launcher._engines = engines
    return launcher


@pytest.mark.parametrize("act", [lambda its: its.add(1), lambda its: its.end([0])])
def test_when_the_forking_process_has_ended_the_error_says_how_to_start_again(launcher, warm, act):
    warm.process.kill()
    warm.process.wait()
    with pytest.raises(ClusterError, match="%dist_reset --hard"):
        act(launcher)


def test_a_forking_process_that_ends_before_any_engine_was_ready_is_quoted(launcher, warm):
    os.write(warm._log.fileno(), b"Traceback\nModuleNotFoundError: no torch\n\n")
    launcher.check()
    warm.process.kill()
    warm.process.wait()
    with pytest.raises(ClusterError) as caught:
        launcher.check()
    assert str(caught.value) == (
        "The process that starts engines was killed by SIGKILL: ModuleNotFoundError: no torch"
    )


def test_a_forking_process_that_ends_later_says_how_to_start_again(launcher, engines, warm):
    engines.was_ready = True
    warm.process.kill()
    warm.process.wait()
    with pytest.raises(ClusterError, match="%dist_reset --hard"):
        launcher.check()


@pytest.mark.parametrize("ask", ["start", "refuse_start", "add"])
def test_more_engines_than_this_host_has_memory_for_are_refused(ask):
    launcher = LocalLauncher(2)
    with pytest.raises(ClusterError, match=r"^10,000,000 ranks take 300,000.0 GB of memory before"):
        getattr(launcher, ask)(10_000_000)
    launcher.refuse_start()
    launcher.refuse_start(10_000_000, range(10_000_000 - 2))
