"""Making the engines of a running cluster answer requests, without disturbing those that do."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fakes import FakePool

from rankbook._version import __version__
from rankbook.cluster import joining
from rankbook.errors import EngineError
from rankbook.models import Look, to_dict
from rankbook.models.requests import Run


class Client:
    """An ipyparallel client of a pool's engines; what is applied there ends when a test ends it."""

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


def test_an_engine_that_answers_already_is_left_alone_even_when_busy(pool, client):
    call = pool.channel.request({1: Run("stick()")})
    joining.wake_agents(client, pool.channel)
    assert client.applied == []
    pool[1].ignores = 0
    pool[1].free(interrupt=True, cut=False)
    assert call.done


def test_an_engine_that_does_not_answer_gets_an_agent(pool, client):
    pool[1].answers = False
    client.answers[1] = ("there", "")
    joining.wake_agents(client, pool.channel)
    assert client.applied == [1]
    assert pool.awaited == set()


def test_an_engine_that_cannot_have_an_agent_is_named_with_its_host(pool, client):
    pool[1].answers = False
    client.answers[1] = ("there", "ImportError: no rankbook")
    with pytest.raises(EngineError) as caught:
        joining.wake_agents(client, pool.channel)
    assert str(caught.value) == (
        "Engine 1 on there cannot serve as a rank (ImportError: no rankbook): run `pip install "
        "rankbook` in the environment of the engines there."
    )


def test_an_exception_on_an_engine_is_reported_in_one_line(pool, client):
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


# -- an engine with another version ----------------------------------------------------------


@pytest.mark.parametrize("nproc", [None, 2])
@pytest.mark.parametrize(
    ("versions", "has"),
    [
        ((("torch", "2.9"), ("rankbook", "9.8.7")), "9.8.7"),
        ((("torch", "2.9"),), "of an unknown version"),
    ],
)
def test_an_engine_with_another_version_is_refused_at_the_start(make, versions, has, nproc):
    session = make(3, hosts="ab", owned=False)
    other = session.pool[1]
    other.facts = replace(other.facts, versions=versions)
    with pytest.raises(EngineError) as caught:
        session.initialize("gloo", nproc)
    assert str(caught.value) == (
        f"Engine 1 on b has rankbook {has} and this notebook has {__version__}: install one "
        "version in both, then restart the engines and this notebook's kernel."
    )
    assert session.world_size == 0
    assert session.pool.asked("initialize") == []


# -- a torch newer than tested ---------------------------------------------------------------


@pytest.mark.parametrize("torch", ["2.16.0", "2.16.0a0+git1234", "3.0"])
def test_a_newer_torch_than_tested_is_warned_of_and_then_used(make, torch):
    session = make(2, hosts="ab", owned=False)
    other = session.pool[1]
    other.facts = replace(other.facts, versions=(("torch", torch), ("rankbook", __version__)))
    with pytest.warns(UserWarning, match=re.escape(f"torch {torch} on b is newer than")) as caught:
        session.initialize("gloo")
    assert all(len(str(warning.message).splitlines()) == 1 for warning in caught)
    assert session.world_size == 2


@pytest.mark.parametrize("torch", ["2.9.0", "2.15.1+cu130", "odd"])
def test_a_tested_torch_is_not_warned_of(make, torch):
    session = make(1, owned=False)
    first = session.pool[0]
    first.facts = replace(first.facts, versions=(("torch", torch), ("rankbook", __version__)))
    session.initialize("gloo")  # a warning would be an error
    assert session.world_size == 1
