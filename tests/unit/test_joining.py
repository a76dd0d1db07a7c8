"""Making the engines of a cluster that runs answer us, without disturbing those that do."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from fakes import FakePool

from rankbook.cluster import joining
from rankbook.errors import EngineError
from rankbook.models import Look, to_dict
from rankbook.models.requests import Run


class Client:
    """An ipyparallel client of a pool's engines; what is applied there ends when a test says so."""

    def __init__(self, pool):
        self.ids = pool.engines
        self.answers = {}
        self.applied = []

    def __getitem__(self, engine):
        def apply_async(function):
            self.applied.append(engine)
            return SimpleNamespace(
                ready=lambda: engine in self.answers, get=lambda: self._answer(engine)
            )

        return SimpleNamespace(apply_async=apply_async)

    def _answer(self, engine):
        answer = self.answers[engine]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def pool(timing, monkeypatch):
    monkeypatch.setattr(joining, "_ANSWERS_WITHIN", 0.01)
    return FakePool(3)


@pytest.fixture
def client(pool):
    return Client(pool)


def test_who_answers_already_is_left_in_peace_though_it_is_busy(pool, client):
    call = pool.channel.request({1: Run("stick()")})
    joining.wake_agents(client, pool.channel)
    assert client.applied == []
    pool[1].ignores = 0
    pool[1].free(interrupt=True, cut=False)
    assert call.done


def test_who_does_not_answer_gets_an_agent(pool, client):
    pool[1].answers = False
    client.answers[1] = ("there", "")
    joining.wake_agents(client, pool.channel)
    assert client.applied == [1]
    assert pool.awaited == set()


def test_who_cannot_have_an_agent_is_named_by_its_host(pool, client):
    pool[1].answers = False
    client.answers[1] = ("there", "ImportError: no rankbook")
    with pytest.raises(EngineError) as caught:
        joining.wake_agents(client, pool.channel)
    assert str(caught.value) == (
        "Engine 1 on there cannot serve as a rank (ImportError: no rankbook): run `pip install "
        "rankbook` in the environment of the engines there."
    )


def test_what_an_engine_raises_is_told_in_one_line(pool, client):
    client.answers = {0: ("here", ""), 1: ValueError("no\nmore."), 2: ("here", "")}
    with pytest.raises(EngineError, match=r"^Engine 1 does not answer: no\.$"):
        joining.install_agents(client)


def test_a_busy_engine_that_answers_late_is_not_waited_for(pool, client):
    """Its main thread will install an agent that it has, whenever it is free again."""
    pool[1].answers = False

    def late():
        pool[1].unanswered[0].answer(to_dict(Look("running", engine=1)))

    timer = threading.Timer(0.1, late)
    timer.start()
    joining.wake_agents(client, pool.channel)
    timer.join()
    assert client.applied == [1]
    assert client.answers == {}
