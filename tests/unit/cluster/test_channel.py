"""Requests to engines, on engines that live in this process."""

from __future__ import annotations

import pytest

from rankbook.cluster.transport.channel import everyone
from rankbook.errors import ClusterError, SessionError
from rankbook.models.requests import GetFacts, LookAt


@pytest.fixture
def late(pool, monkeypatch):
    """An engine that the controller knows only when it is asked a second time."""
    send = pool.wire.send
    pool[1].answers = False

    def sent(messages, buffers=()):
        pool[1].answers = len(pool.wire.requests) > 0
        send(messages, buffers)

    monkeypatch.setattr(pool.wire, "send", sent)


@pytest.mark.usefixtures("late")
def test_an_engine_that_does_not_answer_is_asked_again_and_no_other_is(pool):
    answers = pool.channel.ask(everyone([0, 1, 2], GetFacts("")), timeout=10, again=0.01)
    assert sorted(answers) == [0, 1, 2]
    assert [sorted(args) for args in pool.requested("facts")] == [[0, 1, 2], [1]]
    assert pool.awaited == set()


@pytest.mark.usefixtures("late")
def test_an_engine_is_asked_once_for_what_must_not_be_done_twice(pool):
    with pytest.raises(ClusterError, match=r"^Engines \[1\] did not answer 'facts' within 0.01 s"):
        pool.channel.ask(everyone([0, 1, 2], GetFacts("")), timeout=0.01)
    assert len(pool.requested("facts")) == 1
    assert pool.awaited == {1}


# -- what the wire reports -------------------------------------------------------------------


@pytest.fixture
def call(pool):
    """A request that engine 1 does not answer."""
    pool[1].answers = False
    return pool.channel.request(everyone([0, 1], LookAt()))


def test_a_request_to_an_engine_that_the_controller_loses_fails(pool, call):
    pool.wire.leave(1)
    assert sorted(call.values) == [0]
    assert call.failures[1].evalue == "Engine 1 has ended."


def test_an_engine_that_has_ended_is_sent_nothing_even_while_it_is_registered(pool):
    pool.channel.engine_gone(1)
    assert 1 in pool.wire.engines
    call = pool.channel.request(everyone([0, 1], LookAt()))
    assert call.failures[1].evalue == "Engine 1 has ended."
    assert pool.asked("look") == [0]


def test_an_engine_that_registers_again_is_sent_requests_again(pool):
    pool.wire.leave(1)
    pool.wire.join(1)
    assert pool.channel.ask(everyone([1], LookAt()))


def test_an_engine_that_the_controller_announces_after_its_end_is_none_that_lives(pool):
    pool.kill(1)
    pool.wire.join(1)
    assert 1 not in pool.engines
    assert pool.channel.request(everyone([1], LookAt())).failures[1].evalue == "Engine 1 has ended."
    pool.kill(0)
    pool.replace(timeout=1)
    pool.wire.join(0)
    assert not {0, 1} & set(pool.engines)


def test_an_engine_that_has_reported_ready_is_reached_before_it_is_announced(pool):
    pool.wire.leave(1)
    pool.channel.know({1: "uuid"})
    assert pool.channel.ask(everyone([1], LookAt()))


def test_who_waits_is_woken_by_the_last_answer_and_by_a_failure(pool):
    for engine in pool.engines:
        pool[engine].answers = False
    call = pool.channel.request(everyone([0, 1, 2, 3], LookAt()))
    ok = {"status": "ok", "value": {}}
    call.settle(0, ok)
    assert call.inbox.empty()
    pool.wire.leave(1)
    assert call.inbox.get_nowait() is None
    call.settle(2, ok)
    assert call.inbox.empty()
    call.settle(3, ok)
    assert call.inbox.get_nowait() is None


def test_an_answer_to_a_forgotten_call_is_dropped(pool, call):
    pool.channel.forget(call)
    pool[1].unanswered[0].answer({})
    assert 1 not in call.values


def test_a_wait_ends_when_the_controller_is_lost(pool, call):
    pool.wire.lost.set()
    with pytest.raises(ClusterError, match="controller is gone"):
        pool.channel.wait(call, 10)


def test_a_wait_ends_when_the_channel_is_closed(pool, call):
    pool.channel.close()
    with pytest.raises(SessionError, match="shut down"):
        pool.channel.wait(call, 10)
