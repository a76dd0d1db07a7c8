"""Looks that take no time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from accounts import aside, call
from processes import wait_until
from steps import SOON

from rankbook.engine.looking import frames
from rankbook.engine.looking import look as look_module
from rankbook.models import Collective


@pytest.fixture
def glance(observer, monkeypatch):
    """Looks without taking time for it."""

    def look(doing="run", cell=7):
        with monkeypatch.context() as patch:
            # Of that module only: threads of other tests may sleep meanwhile.
            hurried = {**vars(time), "sleep": lambda _: pytest.fail("it took time")}
            patch.setattr(look_module, "time", SimpleNamespace(**hurried))
            return observer.look(doing, cell, 0, closely=False)

    return look


def test_a_glance_at_an_idle_rank_does_not_read_its_calls(account, at, glance):
    account.say(call("all_reduce", 3))
    at(in_loop=True)
    assert (glance("", None).state, glance("", None).recent) == ("idle", ())
    at(mark=((1, 1),))  # some callback
    assert glance("", None).state == "idle"
    assert account.asked == 0


def test_a_glance_sees_a_cell_of_another_client(account, at, glance):
    at(line="line 2: f(x)")
    look = glance("", None)
    assert (look.state, look.line, look.cell) == ("running", "line 2: f(x)", None)


def test_a_glance_sees_other_threads_in_a_collective(account, at, glance, monkeypatch):
    monkeypatch.setattr(frames, "other_threads_in_torch_distributed", lambda: True)
    at(in_loop=True)
    assert glance("", None).state == "running"


@pytest.mark.parametrize(
    ("facts", "waits"),
    [
        ({"call": "all_reduce"}, Collective("all_reduce")),
        ({"awaits": "work"}, Collective("wait")),
        ({"awaits": "p2p"}, Collective("wait")),
        ({"awaits": "future"}, None),
        ({}, None),
    ],
)
def test_a_glance_says_that_a_rank_waits_in_what_its_frames_say(account, at, glance, facts, waits):
    account.say(call("all_reduce", 5, done=False))
    at(line="line 2: f(x)", in_torch=True, **facts)
    look = glance()
    assert (look.waiting, look.state) == (waits, "waiting" if waits else "running")
    assert account.asked == 0


def test_glances_at_a_rank_that_stands_still_read_its_calls_once(observer, account, at, glance):
    """A handle of its own: its frames do not say of what."""
    account.say(call("all_reduce", 5, created=time.time_ns() - 3_000_000_000, done=False))
    at(line="line 2: work.wait()", in_torch=True, awaits="work", mark=((1, 2),))

    def watch():
        wait_until(lambda: glance().waiting.seq == 5, SOON)
        return glance(), glance(), account.asked, observer.look("run", 7, 0, closely=True)

    first, again, times, closely = aside(watch)
    assert times == 1
    assert 3 <= first.since < again.since < 3 + SOON
    assert first.since == first.waiting.since
    assert (again.state, again.line) == (closely.state, closely.line)
    assert (again.waiting.op, again.waiting.seq) == (closely.waiting.op, closely.waiting.seq)


def test_a_glance_reads_the_calls_again_after_the_rank_has_moved(observer, account, at, glance):
    at(line="line 2: work.wait()", in_torch=True, awaits="work", mark=((1, 2),))

    def watch():
        account.say(call("all_reduce", 5, done=False))
        wait_until(lambda: glance().waiting.seq == 5, SOON)
        account.say(call("barrier", 6, done=False))
        observer.forget()
        wait_until(lambda: glance().waiting.seq, SOON)
        return glance()

    assert aside(watch).waiting.op == "barrier"
