"""Requests to engines, on engines that live in this process."""

from __future__ import annotations

import pytest

from rankbook.cluster.channel import everyone
from rankbook.errors import ClusterError
from rankbook.models.requests import SayFacts


@pytest.fixture
def late(pool, monkeypatch):
    """An engine that the controller knows only when it is asked a second time."""
    channel, request = pool.channel, pool.channel.request
    pool[1].answers = False

    def requested(requests, buffers=()):
        pool[1].answers = len(channel.requests) > 0
        return request(requests, buffers)

    monkeypatch.setattr(channel, "request", requested)
    return channel


def test_who_was_not_reached_is_asked_again_and_only_that_one(late):
    answers = late.ask(everyone([0, 1, 2], SayFacts("")), timeout=10, again=0.01)
    assert sorted(answers) == [0, 1, 2]
    assert [sorted(args) for _, args in late.requests] == [[0, 1, 2], [1]]
    assert late.awaited == 0


def test_what_must_not_be_done_twice_is_asked_once(late):
    with pytest.raises(ClusterError, match=r"^Engines \[1\] did not answer 'facts' within 0.01 s"):
        late.ask(everyone([0, 1, 2], SayFacts("")), timeout=0.01)
    assert len(late.requests) == 1
    assert late.awaited == 1
