"""What a launcher does in a cluster that somebody else has started."""

import itertools
import signal
from types import SimpleNamespace

import pytest

from rankbook.cluster.keeping import kept
from rankbook.cluster.launchers import joined
from rankbook.cluster.launchers.base import Ended, Ready
from rankbook.errors import ClusterError
from rankbook.models import to_dict
from rankbook.models.calls import LastCalls, LastOutput

STATE = {"size": 3, "living": [0, 1], "next": 3, "forkers": 1, "log": ""}


class Keeper:
    """A connection to a keeper that tells what a test gives it."""

    def __init__(self, *events, **state):
        self.state, self.told, self.calls = STATE | state, events, []

    def follow(self):
        return self

    def events(self):
        return iter(self.told)

    def close(self):
        pass

    def add(self, n):
        self.calls.append(("add", n))
        return {self.state["next"] + i for i in range(n)}

    def kill(self, engines):
        self.calls.append(("kill", sorted(engines)))


@pytest.fixture
def join(tmp_path, monkeypatch):
    """Joins a cluster, kept or not, whose controller lists engines."""

    def start(keeper, listed=(0, 1, 2)):
        path = tmp_path / "ipcontroller-x-client.json"
        path.touch()
        client = listed
        if not isinstance(listed, Announcing):
            client = SimpleNamespace(ids=list(listed), close=lambda **_: None)
        monkeypatch.setattr(joined.ipyparallel, "Client", lambda *_, **__: client)
        monkeypatch.setattr(kept, "find", lambda _: keeper)
        launcher = joined.JoinedLauncher(connection_file=path)
        launcher.start()
        return launcher

    return start


@pytest.mark.parametrize(
    ("keeper", "instead", "can_add"),
    [(Keeper(), True, True), (Keeper(forkers=0), True, False), (None, False, False)],
)
def test_engines_are_added_in_a_kept_cluster_while_something_can_fork_them(
    join, keeper, instead, can_add
):
    launcher = join(keeper)
    assert launcher.can_add == launcher.can_replace == can_add
    assert ("%dist_shutdown" in launcher.instead) == instead


class Announcing:
    """A client to which the controller announces one engine after the other."""

    def __init__(self, engines):
        self._coming = iter(engines)
        self._there = []

    @property
    def ids(self):
        self._there += list(itertools.islice(self._coming, 1))
        return self._there

    def close(self, **_):
        pass


def test_a_cluster_that_has_just_been_started_is_joined_when_all_its_engines_are_announced(
    join, monkeypatch
):
    launcher = join(Keeper(living=[0, 1, 2]), Announcing([0, 1, 2]))
    assert launcher.client.ids == [0, 1, 2]
    # An engine that the controller has given up keeps nobody out.
    monkeypatch.setattr(joined, "ANNOUNCED", 0.1)
    launcher = join(Keeper(living=[0, 1, 2]), Announcing([0, 1]))
    assert launcher.client.ids == [0, 1]


def test_the_ends_of_engines_are_reported_first_those_from_before(join, monkeypatch):
    monkeypatch.setattr(joined, "_NEXT", 0)
    last = LastCalls(12, (), outputs=(LastOutput("stdout", 4, 2, "hi"),))
    launcher = join(
        Keeper(
            {"event": "ready", "engine": 3, "uuid": "u"},
            {"event": "ended", "index": 1, "status": 3, "words": ["bye"], "last": to_dict(last)},
            {"event": "lost", "engines": [0], "why": "n1 was lost", "forkers": 1},
            {"event": "lost", "engines": [3], "why": "", "forkers": 0},
            ended={"2": -9},
        ),
        listed=(0, 1),  # the controller may announce 2 still
    )
    assert list(launcher.events()) == [
        Ended(2, -signal.SIGKILL),
        Ready(3, "u"),
        Ended(1, 3),
        Ended(0, None),
        Ended(3, -signal.SIGKILL),
    ]
    assert launcher.log_tail(1) == ["bye"]
    assert launcher.last_calls(1) == last
    assert launcher.last_calls(0) is None
    assert launcher.why_lost(0) == "n1 was lost"
    assert launcher.why_lost(3) == ""
    assert not launcher.can_add


def test_the_next_keeper_is_followed_when_one_has_ended(join, monkeypatch):
    launcher = join(Keeper(living=[0, 1, 2]))
    events = launcher.events()
    after = Keeper({"event": "ready", "engine": 4, "uuid": "u"}, living=[0, 3], next=4)
    monkeypatch.setattr(kept, "find", lambda _: after)
    launcher.client.ids.append(3)
    assert [next(events) for _ in range(3)] == [Ended(1, None), Ended(2, None), Ready(4, "u")]
    assert launcher.user is after


def test_all_engines_of_a_kept_cluster_are_replaced_by_as_many(join):
    launcher = join(keeper := Keeper())
    launcher.start_engines(launcher.stop_engines())
    assert keeper.calls == [("kill", [0, 1]), ("add", 2)]


def test_a_kept_cluster_that_has_lost_all_engines_gets_as_many_as_it_began_with(join):
    join(keeper := Keeper(living=[]), listed=[3, 4, 5])
    assert keeper.calls == [("add", 3)]


def test_a_cluster_without_engines_that_is_not_kept_is_refused(join):
    with pytest.raises(ClusterError, match="no engines"):
        join(None, listed=[])


def test_the_engines_of_a_cluster_that_is_not_kept_are_not_replaced(join):
    with pytest.raises(ClusterError, match="started elsewhere"):
        join(None).stop_engines()
