from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import replace

import pytest
from steps import end_of, run_stuck

from rankbook.sessions.live.monitor import Monitor

SOON = 10.0  # seconds for what another thread does at once
NEVER = 600.0


@pytest.fixture
def pace(session):
    """Sets how often monitors look that are started later, and how long they are not forgotten."""

    def set_pace(period, settle=0.0, busy=NEVER, forgotten=NEVER, **others):
        session.timing = replace(
            session.timing,
            monitor=period,
            monitor_busy=busy,
            monitor_settle=settle,
            forgotten=forgotten,
            **others,
        )

    return set_pace


@pytest.fixture
def watch(session):
    """Starts monitors, and stops them."""
    started = []

    def start(listener, on_error=lambda why: None):
        started.append(Monitor(session, listener, on_error))
        return started[-1]

    yield start
    for monitor in started:
        monitor.stop()
        monitor.join(SOON)


def test_a_monitor_looks_periodically(session, pace, watch):
    pace(0.001)
    seen = queue.Queue()
    watch(seen.put)
    assert {len(seen.get(timeout=SOON).states) for _ in range(3)} == {4}


def test_a_monitor_looks_soon_after_a_change(session, pace, watch):
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


def test_a_monitor_looks_again_when_its_listener_wants_it(session, pace, watch):
    pace(NEVER)
    seen, wanted = queue.Queue(), [0.001, 0.001, None]

    def listener(snapshot):
        seen.put(snapshot)
        return wanted.pop(0)

    watch(listener)
    session.changes.notify()
    for _ in range(3):
        seen.get(timeout=SOON)
    with pytest.raises(queue.Empty):
        seen.get(timeout=0.05)


def test_a_monitor_looks_once_for_changes_in_a_row(session, pace, watch):
    pace(NEVER)
    seen, go_on = queue.Queue(), threading.Event()

    def listener(snapshot):
        seen.put(snapshot)
        go_on.wait(SOON)

    watch(listener)
    session.changes.notify()
    seen.get(timeout=SOON)  # the listener is busy now
    for _ in range(50):
        session.changes.notify()
    go_on.set()
    seen.get(timeout=SOON)
    with pytest.raises(queue.Empty):
        seen.get(timeout=0.05)


# -- while the session is busy ---------------------------------------------------------------


def test_a_monitor_looks_more_often_while_the_session_is_busy(formed, pace, watch):
    """Ranks do not announce what they do."""
    pace(NEVER, busy=0.001)
    seen = queue.Queue()
    watch(seen.put)
    thread, _ = run_stuck(formed)
    until(seen, "running", "running", "running")
    formed.interrupt()
    end_of(thread)
    until(seen, "idle")
    assert is_quiet(seen)


def until(seen, *states):
    """Wait until rank 0 is seen in these states, one look after another."""
    found = []
    while tuple(found[-len(states) :]) != states:
        found.append(seen.get(timeout=SOON).states[0].state)


def is_quiet(seen):
    """Whether looks cease; those that are on their way have a moment to arrive."""
    deadline = time.monotonic() + SOON
    with contextlib.suppress(queue.Empty):
        while time.monotonic() < deadline:
            seen.get(timeout=0.05)
        return False
    return True


# -- whether a page shows the session --------------------------------------------------------


def test_a_monitor_pauses_while_no_page_shows_the_session(session, pace, watch):
    pace(0.001)
    seen = queue.Queue()
    monitor = watch(seen.put)
    seen.get(timeout=SOON)
    monitor.watched(someone=False)
    assert is_quiet(seen)
    assert not monitor.join(0)


def test_a_page_that_comes_back_is_shown_the_present_state_at_once(session, pace, watch):
    pace(NEVER)
    seen = queue.Queue()
    monitor = watch(seen.put)
    monitor.watched(someone=False)
    assert is_quiet(seen)
    monitor.watched(someone=True)
    assert len(seen.get(timeout=SOON).states) == 4


def test_a_sign_of_a_page_that_is_there_causes_no_look(session, pace, watch):
    pace(NEVER)
    seen = queue.Queue()
    monitor = watch(seen.put)
    for _ in range(3):
        monitor.watched(someone=True)
    with pytest.raises(queue.Empty):
        seen.get(timeout=0.05)


def test_a_page_that_gives_no_sign_is_forgotten(session, pace, watch):
    pace(0.001, forgotten=0.0)
    seen = queue.Queue()
    watch(seen.put)
    assert is_quiet(seen)


def test_a_sign_keeps_a_page_from_being_forgotten(session, pace, watch):
    pace(0.001, forgotten=0.0)
    seen = queue.Queue()
    monitor = watch(seen.put)
    assert is_quiet(seen)
    pace(0.001)
    monitor.watched(someone=True)
    for _ in range(3):
        seen.get(timeout=SOON)


def test_a_monitor_without_a_page_ignores_changes(formed, pace, watch):
    pace(0.001)
    seen = queue.Queue()
    monitor = watch(seen.put)
    monitor.watched(someone=False)
    assert is_quiet(seen)
    formed.reset()
    assert is_quiet(seen)
    monitor.watched(someone=True)
    assert seen.get(timeout=SOON).generation == 2


def beside_a_cell(hear, **content):
    """Hear of a page as a kernel with subshells does: in a thread beside the main one."""
    thread = threading.Thread(target=hear, kwargs=content)
    thread.start()
    end_of(thread)


def test_a_page_heard_beside_a_running_cell_is_forgotten_while_one_runs(formed, pace, watch):
    pace(NEVER, busy=0.001)
    seen = queue.Queue()
    monitor = watch(seen.put)
    thread, _ = run_stuck(formed)
    beside_a_cell(monitor.watched, someone=True)
    until(seen, "running", "running", "running")
    beside_a_cell(monitor.watched, someone=False)
    assert is_quiet(seen)
    formed.interrupt()
    end_of(thread)


def test_a_page_heard_in_the_main_thread_does_not_count_as_heard_beside_cells(formed, pace, watch):
    """The session may be busy while the main thread is not: with a click, or `--no-wait`."""
    pace(NEVER, busy=0.001, forgotten=0.0)
    seen = queue.Queue()
    monitor = watch(seen.put)
    thread, _ = run_stuck(formed)
    monitor.watched(someone=True)
    formed.interrupt()
    end_of(thread)
    thread, _ = run_stuck(formed)
    until(seen, "running", "running", "running")
    formed.interrupt()
    end_of(thread)


def test_a_monitor_goes_on_after_a_snapshot_that_cannot_be_shown(session, pace, watch, caplog):
    pace(0.001)
    seen = queue.Queue()

    def listener(snapshot):
        seen.put(snapshot)
        if seen.qsize() == 1:
            raise IndexError("too short")

    watch(listener)
    while seen.qsize() < 3:
        threading.Event().wait(0.001)
    assert "could not be brought up to date" in caplog.text
    assert "IndexError: too short" in caplog.text


def test_a_monitor_goes_on_after_an_error_that_cannot_be_shown(session, pool, pace, watch, caplog):
    pace(0.001)
    told = queue.Queue()

    def on_error(why):
        told.put(why)
        raise IndexError("too long")

    watch(lambda _: None, on_error)
    pool.channel.lost.set()
    for _ in range(3):
        assert "controller is gone" in told.get(timeout=SOON)
    assert "IndexError: too long" in caplog.text


def test_a_page_is_not_forgotten_while_the_session_is_busy(formed, pace, watch):
    """The signs of a page may not be heard while a cell runs."""
    pace(NEVER, busy=0.001, forgotten=0.0)
    seen = queue.Queue()
    monitor = watch(seen.put)
    monitor.watched(someone=False)
    thread, _ = run_stuck(formed)
    until(seen, "running", "running", "running")
    formed.interrupt()
    end_of(thread)
    assert is_quiet(seen)


# -- its thread ------------------------------------------------------------------------------


def test_a_monitor_calls_its_listener_in_a_daemon_thread_that_ends_with_it(session, pace, watch):
    pace(0.001)
    seen = queue.Queue()
    monitor = watch(lambda _: seen.put(threading.current_thread()))
    thread = seen.get(timeout=SOON)
    assert (thread.name, thread.daemon) == ("rankbook-monitor", True)
    monitor.stop()
    end_of(thread)


def test_a_monitor_ends_with_the_session_and_shows_its_end(session, pace, watch):
    pace(NEVER)
    seen = []
    monitor = watch(seen.append)
    session.shutdown()
    assert monitor.join(SOON)
    assert seen[-1].doing == "shut down"
    assert session.changes.subscribers == session.endings.subscribers == 0


def test_the_last_snapshot_of_a_monitor_is_taken_before_the_ranks_end(formed, pace, watch):
    """However soon after a change the session is shut down, and whether or not a page shows it."""
    pace(NEVER, settle=NEVER)
    seen = []
    monitor = watch(seen.append)
    monitor.watched(someone=False)
    formed.reset()
    assert seen == []
    formed.shutdown()
    assert seen
    assert seen[0].generation == 2
    assert [state.state for state in seen[0].states] == ["idle"] * 4


def test_a_shutdown_does_not_wait_for_a_listener_that_is_stuck(formed, pace, watch, monkeypatch):
    pace(NEVER, last_look=0.0)
    go_on = threading.Event()
    monitor = watch(lambda _: go_on.wait(SOON))
    formed.shutdown()
    assert formed.is_closed
    assert not go_on.is_set()
    go_on.set()
    assert monitor.join(SOON)


def test_stop_ends_a_monitor_that_waits(session, pace, watch):
    pace(NEVER, settle=NEVER)
    monitor = watch(lambda _: None)
    session.changes.notify()
    monitor.stop()
    monitor.stop()
    assert monitor.join(SOON)
    assert session.changes.subscribers == session.endings.subscribers == 0


def test_a_monitor_survives_a_lost_controller(session, pool, pace, watch):
    pace(0.001)
    seen, lost = queue.Queue(), threading.Event()
    states = session.states

    def counted():
        if pool.channel.lost.is_set():
            lost.set()
        return states()

    session.states = counted
    told = queue.Queue()
    watch(seen.put, told.put)
    seen.get(timeout=SOON)
    pool.channel.lost.set()
    assert lost.wait(SOON)
    assert "controller is gone" in told.get(timeout=SOON)
    pool.channel.lost.clear()
    while not seen.empty():
        seen.get()
    assert len(seen.get(timeout=SOON).states) == 4
