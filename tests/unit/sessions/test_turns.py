"""One thing at a time: which turn an interrupt hits, and which it does not."""

from __future__ import annotations

import os
import threading

import pytest
from processes import wait_until
from steps import SOON, end_of

from rankbook.errors import SessionError
from rankbook.sessions.changes import Changes
from rankbook.sessions.turns import Turns


@pytest.fixture
def lock():
    """The lock that is held while ranks are freed."""
    return Watched()


@pytest.fixture
def turns(timing, lock):
    return Turns(Changes(), timing, lock)


class Busy:
    """A turn that is taken in another thread, and lasts until it is told to end."""

    def __init__(self, turns, doing):
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._take, args=(turns, doing))
        self._thread.start()

    def _take(self, turns, doing):
        with turns.take(doing, wait=SOON):
            assert self._over.wait(SOON)

    def ends(self):
        self._over.set()
        end_of(self._thread)


def test_an_interrupt_is_repeated_until_its_turn_has_ended(turns):
    first = Busy(turns, "first")
    wait_until(lambda: turns.doing, SOON)
    said = iter([False, False, True])

    def free():
        if found := next(said):
            threading.Timer(0.05, first.ends).start()
        return found

    assert turns.end(free)
    assert not turns.doing
    assert next(said, None) is None


def test_an_interrupt_does_not_hit_the_next_turn(turns):
    first = Busy(turns, "first")
    wait_until(lambda: turns.doing, SOON)
    second = None
    freed = []

    def free():
        nonlocal second
        if second is None:
            first.ends()  # with the interrupt already under way, and nothing on the ranks
            second = Busy(turns, "second")
        freed.append(turns.doing)
        return False

    assert not turns.end(free)
    wait_until(lambda: turns.doing == "second", SOON)
    assert set(freed) <= {"first", ""}
    second.ends()


class Watched:
    """A lock that counts the threads that have come to it."""

    def __init__(self):
        self._lock = threading.Lock()
        self.came = 0

    def __enter__(self):
        self.came += 1
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


def test_two_interrupts_at_once_do_not_hit_the_next_turn(turns, lock):
    """The one that comes second waits for the first, and by then that turn may be over."""
    first = Busy(turns, "first")
    wait_until(lambda: turns.doing, SOON)
    before = lock.came
    freed = []
    second = other = None

    def other_free():
        freed.append(turns.doing)
        return False

    def free():
        nonlocal other, second
        other = threading.Thread(target=turns.end, args=(other_free,))
        other.start()
        wait_until(lambda: lock.came == before + 2, SOON)
        first.ends()
        second = Busy(turns, "second")
        wait_until(lambda: lock.came == before + 3, SOON)
        return True

    assert turns.end(free)
    end_of(other)
    wait_until(lambda: turns.doing == "second", SOON)
    assert "second" not in freed
    second.ends()


def test_an_interrupt_of_a_turn_that_is_over_frees_no_rank(turns):
    first = Busy(turns, "first")
    wait_until(lambda: turns.doing, SOON)
    meant = turns.number
    first.ends()
    second = Busy(turns, "second")
    wait_until(lambda: turns.doing == "second", SOON)
    freed = []
    assert not turns.end(lambda: bool(freed.append(1)), meant)
    assert freed == []
    second.ends()


def test_a_thread_that_waits_for_a_turn_is_refused_when_turns_are_closed(turns, lock):
    """And does not open it again."""
    closed = threading.Event()
    refused = []

    def try_it():
        with pytest.raises(SessionError, match="shut down"), turns.take("a cell"):
            pass
        refused.append(turns.is_closed)

    before = lock.came

    def free():
        waits = threading.Thread(target=try_it)
        waits.start()
        wait_until(lambda: lock.came == before + 2, SOON)
        turns.close()
        threading.Thread(target=lambda: (end_of(waits), closed.set())).start()
        return False

    turns.end(free)
    assert closed.wait(SOON)
    assert refused == [True]
    assert turns.doing == "shut down"


def test_in_a_fork_of_its_process_a_session_counts_as_shut_down(turns):
    hear, say = os.pipe()
    child = os.fork()
    if not child:
        try:
            turns.refuse_closed()
        except SessionError as error:
            os.write(say, f"{turns.is_closed} {turns.doing}: {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(say)
    with os.fdopen(hear) as heard:
        assert heard.read() == (
            f"True shut down: This session belongs to process {os.getpid()}, of which this one "
            f"({child}) is a fork: use it there."
        )
    assert not turns.is_closed
    turns.refuse_closed()
