"""A keeper, in a thread: what it reads, to whom it passes that on, what it adds."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from rankbook.cluster.keeping import kept as module
from rankbook.cluster.keeping.held import Forker, Held, Holding
from rankbook.cluster.keeping.keeper import Keeper
from rankbook.cluster.keeping.kept import Kept, User, all_kept
from rankbook.errors import ClusterError

FORK = {"fork": 0, "first": 0, "argv": ["--option"], "log": ""}


def held(*forkers, fork=FORK, first=4):
    return Held(Holding(0, tuple(Forker(*one, 0, 0, 0) for one in forkers), fork, first))


def test_engines_are_forked_first_where_some_have_ended():
    cluster = held(("n1 was lost", 2, (0, 1)), ("n2 was lost", 2, (2, 3)))
    assert cluster.take(1, b'{"event": "ended", "index": 2, "status": -9}')["status"] == -9
    ids, commands = cluster.add(2)
    assert ids == [4, 5]
    assert commands == {n: {**FORK, "fork": 1, "first": 4 + n} for n in (0, 1)}
    assert cluster.living == [0, 1, 3, 4, 5]
    assert cluster.state()["ended"] == {"2": -9}
    assert sorted(c["kill"] for c in cluster.kill([3, 4, 9]).values()) == [[3], [4]]


def test_what_a_login_script_prints_is_passed_over():
    cluster = held(("n1 was lost", 2, (0, 1)))
    for line in (b"Welcome!", b"[1]", b"{}", b'{"event": "hello"}'):
        assert cluster.take(0, line) is None
    assert cluster.living == [0, 1]


def test_engines_go_with_the_process_that_forks_them_and_none_are_added_then():
    cluster = held(("", 0, (0, 1)))
    assert cluster.lose(0) == {"event": "lost", "engines": [0, 1], "why": "", "forkers": 0}
    assert cluster.add(1) == ([], {})
    assert cluster.living == []


def test_where_no_process_can_fork_none_are_added():
    cluster = held(("mpiexec", 0, (0, 1)), fork={})
    assert cluster.state()["forkers"] == 0
    assert cluster.add(1) == ([], {})


class Cluster:
    """A keeper in a thread, and the other ends of what it holds."""

    def __init__(self, folder):
        self.folder = folder
        commands, ours = os.pipe()
        theirs, said = os.pipe()
        relay, passed_on = socket.socketpair()
        lifeline, its = os.pipe()
        self.commands = os.fdopen(commands, "rb")
        self.said = os.fdopen(said, "wb", 0)
        self.passed_on = relay.makefile("rb")
        self._fds, self._relay = (lifeline, its, ours, theirs), relay
        forker = Forker("", 0, (0, 1), ours, theirs, passed_on.detach())
        self.keeper = Keeper(
            folder / "kept-x.json",
            folder / "ipcontroller-x-client.json",
            Kept("x", socket.gethostname(), 2, "the local cluster", 0.0, 1.0),
            Holding(its, (forker,), FORK, 2),
        )
        self._thread = threading.Thread(target=self.keeper.run)
        self._thread.start()

    def use(self):
        return module.find(self.folder / "ipcontroller-x-client.json")

    def say(self, **event):
        self.said.write(json.dumps(event).encode() + b"\n")

    def close(self):
        with_user = User(self.folder / "kept-x.json")
        with_user.end()
        self._thread.join(10)
        assert not self._thread.is_alive()
        for file in (self.commands, self.said, self.passed_on, self._relay):
            file.close()
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def test_what_becomes_of_an_engine_is_told_to_all_and_passed_on_as_it_is(cluster):
    users = [cluster.use(), cluster.use()]
    followers = [user.follow() for user in users]
    assert followers[0].state["living"] == [0, 1]
    cluster.say(event="pong")
    cluster.say(event="ended", index=1, pid=7, status=-9)
    ended = {"event": "ended", "index": 1, "pid": 7, "status": -9}
    assert [next(follower.events()) for follower in followers] == [ended, ended]
    assert json.loads(cluster.passed_on.readline()) == {"event": "pong"}
    assert json.loads(cluster.passed_on.readline()) == ended
    for one in (*followers, *users):
        one.close()


def test_a_notebook_that_does_not_read_its_keeper_keeps_nobody_waiting(cluster):
    slow, quick = cluster.use(), cluster.use()
    stopped, follower = slow.follow(), quick.follow()
    told = follower.events()
    for number in range(200):  # more than fits into the sockets of those who do not read
        cluster.say(event="ended", index=number, status=0, words=["x" * 4000])
        assert next(told)["index"] == number
    assert quick.add(1) == {2}
    for one in (stopped, follower, slow, quick):
        one.close()


def test_engines_are_added_and_killed_by_commands_to_the_process_that_forks(cluster):
    user = cluster.use()
    assert user.add(2) == {2, 3}
    assert json.loads(cluster.commands.readline()) == {**FORK, "fork": 2, "first": 2}
    user.kill([3, 0])
    assert json.loads(cluster.commands.readline()) == {"kill": [0, 3]}
    [kept] = all_kept([cluster.folder])
    assert kept.ranks == 4
    assert kept.users == (f"pid {os.getpid()} in {Path.cwd()}",)
    user.close()


@pytest.fixture
def silent(tmp_path):
    """The note of a keeper that is stopped: connections to it are accepted by the system alone."""
    kept = Kept("x", socket.gethostname(), 2, "the local cluster", 0.0, 1.0)
    note = tmp_path / "kept-x.json"
    note.write_text(json.dumps({"kept": asdict(kept), "socket": str(tmp_path / "s")}))
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "s"))
        door.listen()
        yield note


def test_a_keeper_that_is_silent_for_a_while_is_listed_as_it_has_noted_itself(silent, monkeypatch):
    monkeypatch.setattr(module, "ANSWER", 0.1)
    [kept] = all_kept([silent.parent])
    assert (kept.name, kept.ranks, kept.users) == ("x", 2, None)
    user = User(silent)
    with pytest.raises(ClusterError, match="does not answer: try again"):
        user.follow()
    user.close()


def test_the_note_of_a_keeper_that_has_ended_is_removed(silent):
    Path(json.loads(silent.read_text())["socket"]).unlink()
    assert all_kept([silent.parent]) == []
    assert not silent.exists()
    assert module.find(silent.with_name("ipcontroller-x-client.json")) is None


def test_the_note_of_a_keeper_that_was_killed_is_removed(silent):
    door = silent.with_name("t")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(door))  # its socket stays where it is, and nobody listens
    silent.write_text(silent.read_text().replace(str(silent.with_name("s")), str(door)))
    assert all_kept([silent.parent]) == []
    assert not silent.exists()


def test_when_the_process_that_forks_has_ended_nothing_is_added(cluster):
    user = cluster.use()
    follower = user.follow()
    cluster.said.close()
    assert next(follower.events())["engines"] == [0, 1]
    assert cluster.passed_on.read() == b""
    with pytest.raises(ClusterError, match="%dist_shutdown"):
        user.add(1)
    follower.close()
    user.close()


def test_only_its_owner_can_read_the_note_and_reach_the_socket(cluster):
    note = cluster.folder / "kept-x.json"
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    door = json.loads(note.read_text())["socket"]
    assert stat.S_IMODE(Path(door).parent.stat().st_mode) == 0o700
    assert "--option" not in note.read_text()
