"""What the user is told of ranks while a cell runs, said once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rankbook.models import Diagnosis
from rankbook.sessions.cells.news import News


class Notes:
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def note(self, text):
        self.said.append(text)


@pytest.fixture
def on_two_hosts(start):
    pool, group = start(4, hosts="aabb")
    notes = Notes()
    return pool, News(group.members, notes), notes.said


def silence(news, seconds, *ranks):
    news.tell({0, 1, 2, 3}, dict.fromkeys(ranks, seconds))


def test_a_host_is_named_once_when_none_of_its_ranks_has_answered_for_long(on_two_hosts):
    _, news, said = on_two_hosts
    silence(news, 6.9, 2, 3)
    assert said == []
    silence(news, 7.6, 2, 3)
    silence(news, 9.0, 2, 3)
    assert len(said) == 1
    assert said[0] == (
        "b has not answered for 8 s (ranks 2-3): the host or the network is down. "
        "The cell waits, and nothing has been ended."
    )


def test_a_host_that_answers_again_is_named_again(on_two_hosts):
    _, news, said = on_two_hosts
    silence(news, 8.0, 2, 3)
    silence(news, 0.0)
    assert said[1:] == ["b answers again."]
    silence(news, 8.0, 2, 3)
    assert len(said) == 3


def test_a_host_is_not_silent_while_one_of_its_ranks_answers(on_two_hosts):
    _, news, said = on_two_hosts
    silence(news, 60.0, 1, 3)
    assert said == []


def test_a_host_whose_living_ranks_are_silent_is_named_beside_its_dead_one(on_two_hosts):
    pool, news, said = on_two_hosts
    pool.kill(2)
    silence(news, 8.0, 3)
    assert said[0] == "Rank 2 was killed by SIGKILL; ranks 0-1,3 go on."
    assert said[1].startswith("b has not answered for 8 s")


def test_dead_ranks_alone_are_no_silent_host(on_two_hosts):
    pool, news, said = on_two_hosts
    pool.kill(2)
    pool.kill(3)
    silence(news, 0.0)
    assert len(said) == 2
    assert "answered" not in "".join(said)


def test_ranks_of_one_machine_are_no_silent_host(start):
    _, group = start(2)
    notes = Notes()
    News(group.members, notes).tell({0, 1}, {0: 60.0, 1: 60.0})
    assert notes.said == []


LIKELY = Diagnosis("missing_rank", (1,), "Rank 1 never set key.", {}, (0,), hint="It is likely.")


@pytest.mark.timing(likely=0.0)
def test_a_likely_hang_is_reported_once_with_what_to_do(start):
    _, group = start(2)
    notes = Notes()
    news = News(group.members, notes)
    for found in (LIKELY, replace(LIKELY, summary="Rank 1 never set key for 9 s."), None, LIKELY):
        news.tell({0, 1}, {}, found)
    assert notes.said == ["Rank 1 never set key. It is likely."]


def test_a_likely_hang_of_a_moment_is_not_reported(start):
    _, group = start(2)
    notes = Notes()
    News(group.members, notes).tell({0, 1}, {}, LIKELY)
    assert notes.said == []
