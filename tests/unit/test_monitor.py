from __future__ import annotations

import queue
import threading

import pytest

from rankbook.sessions import monitor as monitor_module
from rankbook.sessions.monitor import Monitor

SOON = 10.0  # seconds for what another thread does at once
NEVER = 600.0


@pytest.fixture
def pace(monkeypatch):
    """Sets how often a monitor looks."""

    def set_pace(period, settle=0.0):
        monkeypatch.setattr(monitor_module, "_PERIOD", period)
        monkeypatch.setattr(monitor_module, "_SETTLE", settle)

    return set_pace


@pytest.fixture
def watch(session):
    """Starts monitors, and stops them."""
    started = []

    def start(listener):
        started.append(Monitor(session, listener))
        return started[-1]

    yield start
    for monitor in started:
        monitor.stop()
        monitor._thread.join(SOON)


def test_it_looks_again_and_again(session, pace, watch):
    pace(0.001)
    seen = queue.Queue()
    watch(seen.put)
    assert {len(seen.get(timeout=SOON).states) for _ in range(3)} == {4}


def test_it_looks_soon_after_a_change(session, pace, watch):
    pace(NEVER)
    seen = queue.Queue()
    watch(seen.put)
    session.initialize("gloo")
    while seen.get(timeout=SOON).generation != 1 or session.doing:
        pass
    session.reset()
    while seen.get(timeout=SOON).generation != 2:
        pass
    assert session.generation == 2


def test_changes_in_a_row_are_one_look(session, pace, watch):
    pace(NEVER)
    seen, go_on = queue.Queue(), threading.Event()

    def listener(snapshot):
        seen.put(snapshot)
        go_on.wait(SOON)

    watch(listener)
    session.changes.tell()
    seen.get(timeout=SOON)  # the listener is busy now
    for _ in range(50):
        session.changes.tell()
    go_on.set()
    seen.get(timeout=SOON)
    with pytest.raises(queue.Empty):
        seen.get(timeout=0.05)


def test_it_listens_in_a_thread_of_its_own_that_keeps_nothing_alive(session, pace, watch):
    pace(0.001)
    seen = queue.Queue()
    monitor = watch(lambda _: seen.put(threading.current_thread()))
    assert seen.get(timeout=SOON) is monitor._thread
    assert monitor._thread.daemon


def test_it_ends_with_the_session_and_shows_that_end(session, pace, watch):
    pace(NEVER)
    seen = []
    monitor = watch(seen.append)
    session.shutdown()
    monitor._thread.join(SOON)
    assert not monitor._thread.is_alive()
    assert seen[-1].doing == "shut down"
    assert session.changes._listeners == []


def test_stop_ends_it_whatever_it_waits_for(session, pace, watch):
    pace(NEVER, settle=NEVER)
    monitor = watch(lambda _: None)
    session.changes.tell()
    monitor.stop()
    monitor.stop()
    monitor._thread.join(SOON)
    assert not monitor._thread.is_alive()
    assert session.changes._listeners == []


def test_a_controller_that_has_gone_does_not_end_it(session, pool, pace, watch):
    pace(0.001)
    seen, lost = queue.Queue(), threading.Event()
    states = session.states

    def counted():
        if pool.channel.lost.is_set():
            lost.set()
        return states()

    session.states = counted
    watch(seen.put)
    seen.get(timeout=SOON)
    pool.channel.lost.set()
    assert lost.wait(SOON)
    pool.channel.lost.clear()
    while not seen.empty():
        seen.get()
    assert len(seen.get(timeout=SOON).states) == 4
