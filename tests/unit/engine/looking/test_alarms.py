"""Alarms that a person has set: which waits they end."""

from __future__ import annotations

import signal

import pytest

from rankbook.calls.waits import SOON
from rankbook.engine.looking import alarms
from rankbook.models import Collective, Look
from rankbook.models.meetings import Meets

REDUCE, KEY = Collective("all_reduce", "0", seq=1), Collective("get", entries=("ready",))
MEETING = Collective("init_process_group", meets=Meets("tcp://a:1"))

POLLS = Look("waiting", waiting=REDUCE, polls=True)
IN_THREAD = Look("waiting", waiting=REDUCE, in_thread=True)
FOR_KEY, MEETS, IN_CALL = (Look("waiting", waiting=each) for each in (KEY, MEETING, REDUCE))


@pytest.fixture
def alarm():
    """Sets an alarm, whose handler does nothing."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("look", [POLLS, IN_THREAD, FOR_KEY, MEETS])
def test_an_alarm_may_end_what_waits_in_python(alarm, look):
    assert not alarms.may_end(look)
    alarm(SOON - 1)
    assert alarms.may_end(look)


def test_no_alarm_ends_a_call_of_torch(alarm):
    alarm(SOON - 1)
    assert not alarms.may_end(IN_CALL)


def test_an_alarm_that_is_far_away_is_not_waited_for(alarm):
    alarm(10 * SOON)
    assert not alarms.may_end(POLLS)
