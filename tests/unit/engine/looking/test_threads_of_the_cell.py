"""A rank whose cell has threads of its own."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace

import pytest
from accounts import SETTLED, Account, aside, awaits
from processes import wait_until
from steps import SOON

from rankbook.engine.group.nccl import Streams
from rankbook.engine.looking import frames
from rankbook.engine.looking.look import Observer
from rankbook.engine.looking.recorder import Recorder


@pytest.fixture
def threads(monkeypatch):
    """Sets which threads run user code, and whether each waits for another."""

    def are(**others):
        known = {int(name.removeprefix("t")): in_lock for name, in_lock in others.items()}
        monkeypatch.setattr(frames, "user_threads", lambda: known)

    return are


class InThread(Account):
    def present_waits(self):
        return {1: self.wait} if self.wait else {}


@pytest.fixture
def of_thread(silence):
    """An account in which thread 1 waits in all_reduce #5, and an observer of it."""
    account = InThread()
    account.wait = replace(awaits("all_reduce", 5), thread=1)
    return Observer(account, Recorder(), lambda group: silence[0], Streams(dump=None))


def settle(observer):
    def look():
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still > SETTLED, SOON)
        return observer.look("run", 7, 0, closely=True)

    return aside(look)


def test_a_rank_that_joins_a_thread_in_a_collective_waits_in_it(of_thread, at, threads):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False, t2=True)
    look = settle(of_thread)
    assert (look.state, look.waiting.op, look.waiting.seq) == ("waiting", "all_reduce", 5)
    assert look.in_thread
    assert look.line == "line 4: thread.join()"


def test_a_rank_that_joins_a_thread_for_a_moment_again_and_again_waits_in_it_likely(
    of_thread, at, threads
):
    at(line="line 4: thread.join(0.01)", in_lock=True, gives_up=True)
    threads(t1=False)
    looks = []

    def is_seen():
        looks.append(of_thread.look("run", 7, 0, closely=True))
        return looks[-1].waiting

    looking = threading.Thread(target=wait_until, args=(is_seen, SOON))
    looking.start()
    while looking.is_alive():
        looking.join(0.01)
    look = looks[-1]
    assert (look.state, look.waiting.seq, look.in_thread) == ("waiting", 5, True)
    assert look.may_end


def test_a_rank_that_joins_a_thread_until_an_alarm_may_go_on(of_thread, at, threads):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False)
    assert not settle(of_thread).may_end
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(30)
    try:
        assert settle(of_thread).may_end
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_the_line_of_a_rank_that_waits_in_a_thread_is_the_threads(
    of_thread, at, threads, monkeypatch
):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False)
    monkeypatch.setattr(frames, "line_of", {1: "line 2: dist.all_reduce(x)"}.get)
    assert settle(of_thread).line == "line 2: dist.all_reduce(x)"


def test_a_wait_in_a_cell_that_awaits_a_coroutine_is_not_proven(of_thread, at, threads):
    at(in_loop=True)
    threads(t1=False)
    looks = []

    def is_seen():
        looks.append(of_thread.look("run", 7, 0, closely=True))
        return looks[-1].waiting

    aside(lambda: wait_until(is_seen, SOON))
    look = looks[-1]
    assert (look.waiting.seq, look.in_thread, look.may_end) == (5, True, True)


def test_a_rank_of_which_another_thread_may_go_on_is_running(of_thread, at, threads):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False, t2=False)
    look = settle(of_thread)
    assert (look.state, look.in_thread) == ("running", False)


def test_a_rank_whose_main_thread_computes_is_running_whatever_a_thread_waits_in(
    of_thread, at, threads
):
    at(line="line 4: x @ y")
    threads(t1=False)
    assert settle(of_thread).state == "running"
