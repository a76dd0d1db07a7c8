"""Asking ranks: an answer comes back by rank, and what prevents one is said of ranks."""

from __future__ import annotations

import pytest

from rankbook.errors import ClusterError, SessionError
from rankbook.models.requests import LookAt


@pytest.fixture
def four(start):
    """Four ranks on two hosts: not every rank has the number of its engine."""
    return start(4, hosts="ab")


@pytest.fixture
def pool(four):
    """The engines of the four."""
    return four[0]


@pytest.fixture
def members(four):
    """The four ranks."""
    return four[1].members


def test_a_request_comes_back_by_rank(members):
    engines = members.seated()
    assert [*engines.values()] != [*engines]
    answers = members.ranks([1, 3]).ask(LookAt())
    assert {rank: answer["state"] for rank, answer in answers.items()} == {1: "idle", 3: "idle"}


def test_a_rank_that_does_not_answer_is_named_by_its_number(members, pool):
    pool[members.seated()[1]].answers = False
    with pytest.raises(ClusterError) as caught:
        members.ranks().ask(LookAt(), 0.01)
    assert str(caught.value) == (
        "Rank 1 did not answer within 0.01 s: %dist_status shows what it does."
    )


def test_a_rank_that_has_ended_is_named_with_what_replaces_it(members, pool):
    pool.kill(members.seated()[1])
    with pytest.raises(SessionError, match=r"^Rank 1 was killed by SIGKILL: %dist_restart 1"):
        members.ranks().ask(LookAt())


def test_what_is_for_others_than_the_party_is_not_sent(members):
    call = members.ranks([0, 1]).request({1: LookAt(), 2: LookAt()})
    assert call.wait(1)
    assert [*call.values] == [1]
