"""Leaving the group, and shutting down."""

from __future__ import annotations

import gc
import signal
import weakref
from contextlib import suppress
from unittest.mock import Mock

import pytest
from fakes import FakePool
from steps import RENEWS, end_of, folder_of, infos, run_stuck

import rankbook
from rankbook import api
from rankbook import notebook as notebook_module
from rankbook.cluster.pool import Pool
from rankbook.errors import ClusterError, SessionError


def test_destroy_leaves_no_group_and_keeps_the_engines(formed, pool):
    formed.run("x = 1")
    formed.destroy()
    assert formed.world_size == 0
    assert infos(pool) == [None] * 4
    formed.initialize()
    assert formed.pull("x", "0") == {0: 1}


def test_shutdown_stops_engines_that_were_started_here(formed, pool):
    directory = folder_of(pool)
    assert directory.is_dir()
    formed.shutdown()
    assert pool.closed == 1
    assert formed.is_closed
    assert formed.world_size == 0
    assert repr(formed) == "<Session: shut down>"
    assert not directory.exists()


def test_engines_are_stopped_when_their_session_cannot_be_made(pool, monkeypatch):
    monkeypatch.setattr(api.current, "session", None)
    monkeypatch.setattr(Pool, "start", lambda *_, **__: pool)
    monkeypatch.setattr(notebook_module, "Session", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        rankbook.start("gloo", ssh="alpha:4")
    assert pool.closed == 1


def test_a_session_that_is_shut_down_is_garbage_collected(monkeypatch):
    monkeypatch.setattr(api.current, "session", None)
    monkeypatch.setattr(Pool, "join", lambda **_: FakePool(2))
    kept = weakref.ref(rankbook.connect(cluster_id="lab"))
    kept().shutdown()
    api.current.session = None
    gc.collect()
    assert kept() is None


def test_shutdown_is_idempotent(formed, pool):
    for _ in range(3):
        formed.shutdown()
    assert pool.closed == 1


def test_ctrl_c_does_not_stop_a_shutdown(formed, pool, monkeypatch):
    close = pool.close

    def pressed(**options):
        signal.raise_signal(signal.SIGINT)
        close(**options)

    monkeypatch.setattr(pool, "close", pressed)
    with suppress(KeyboardInterrupt):
        formed.shutdown()
    assert pool.closed == 1
    assert not folder_of(pool).exists()


def test_a_shutdown_removes_its_files_when_the_engines_do_not_stop(formed, pool, monkeypatch):
    heard = []
    formed.changes.subscribe(lambda: heard.append(formed.doing))
    monkeypatch.setattr(pool, "close", Mock(side_effect=ClusterError("They stay.")))
    with pytest.raises(ClusterError, match="They stay"):
        formed.shutdown()
    assert not folder_of(pool).exists()
    assert heard == ["shut down"]


def test_shutdown_of_joined_engines_destroys_their_group_and_leaves_them(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.shutdown()
    assert session.pool.asked("destroy")[-2:] == [0, 1]
    assert [session.pool[n].info for n in range(2)] == [None, None]


def test_a_session_without_a_controller_can_be_shut_down(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool.channel.lost.set()
    session.shutdown()
    assert session.is_closed
    assert session.pool.closed == 1


def test_shutdown_ends_the_running_cell(formed, pool):
    thread, ended = run_stuck(formed)
    formed.shutdown()
    end_of(thread)
    assert formed.is_closed
    assert str(ended["error"]) == "The session was shut down meanwhile."


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.run("rank"),
        lambda s: s.initialize("gloo"),
        lambda s: s.reset(),
        lambda s: s.reset(hard=True),
        lambda s: s.destroy(),
        lambda s: s.pull("x"),
        lambda s: s.push(x=1),
        lambda s: s.interrupt(),
        lambda s: s.stacks(),
        lambda s: s.select("all"),
        lambda s: s.diagnose(),
        lambda s: s.restart_ranks(),
        *RENEWS,
    ],
)
def test_every_call_on_a_session_that_is_shut_down_is_refused(formed, act):
    formed.shutdown()
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == "This session is shut down: start another with %dist_init."


def test_waiting_for_engines_ends_with_an_error_when_the_session_is_shut_down():
    pool = FakePool()
    with pytest.raises(SessionError) as caught:
        pool._wait(pool.close, 0.1, "They did not come")  # which returns nothing
    assert str(caught.value) == "The session was shut down meanwhile."


def test_the_snapshot_of_a_session_that_is_shut_down_is_empty(formed):
    formed.shutdown()
    snapshot = formed.snapshot()
    assert snapshot.states == ()
    assert snapshot.doing == "shut down"
    assert snapshot.world_size == 0
