"""Waiting for a lock in C is seen by the line at which a thread stands."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest
from processes import wait_until
from steps import SOON

from rankbook.engine.looking.locks import waits_for_lock

LOCK = threading.Lock()


def with_a_lock(lock, _owner):
    with lock:
        pass


def by_acquire(lock, _owner):
    lock.acquire()
    lock.release()


def of_an_attribute(_lock, owner):
    with owner.inner.lock:
        pass


def of_a_global(_lock, _owner):
    with LOCK:
        pass


def with_a_comment(lock, _owner):
    with lock:  # nobody else may write
        pass


def by_acquire_in_an_expression(lock, _owner):
    return lock.acquire() and lock.release()


def within_a_time(lock, _owner):
    lock.acquire(timeout=SOON) and lock.release()


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
@pytest.mark.parametrize(
    ("take", "is_seen"),
    [
        (with_a_lock, True),
        (by_acquire, True),
        (of_an_attribute, True),
        (of_a_global, True),
        (with_a_comment, True),
        (by_acquire_in_an_expression, sys.version_info >= (3, 11)),
        (within_a_time, False),
    ],
)
def test_a_thread_that_waits_for_a_lock_is_reported_by_its_line(make, take, is_seen):
    lock = make()
    owner = SimpleNamespace(inner=SimpleNamespace(lock=lock))
    thread = threading.Thread(target=take, args=(lock, owner))

    def frame():
        found = sys._current_frames().get(thread.ident)
        return found if found is not None and found.f_code is take.__code__ else None

    with lock, LOCK:
        thread.start()
        wait_until(lambda: frame() is not None and waits_for_lock(frame()) == is_seen, SOON)
    thread.join()


def test_a_thread_that_is_given_a_lock_that_is_taken_does_not_wait_for_it():
    lock = threading.Lock()

    def stand(
        _lock,
    ):
        return sys._getframe(1)

    with lock:
        frame = stand(
            lock,
        )
        assert not waits_for_lock(frame)


def test_a_line_that_names_a_lock_nobody_has_waits_for_none():
    lock = threading.Lock()

    def stand():
        with lock:
            pass
        return lock, sys._getframe()

    assert not waits_for_lock(stand()[1])
