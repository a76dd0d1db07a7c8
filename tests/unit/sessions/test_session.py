"""The session's state machine, on engines that live in this process."""

from __future__ import annotations

import pytest
from steps import end_of

from rankbook.errors import SessionError
from rankbook.models import GroupInfo

# -- in the background -------------------------------------------------------------------------


def test_in_background_returns_when_the_session_is_busy(formed):
    thread = formed.in_background(lambda: formed.run("stick()"))
    assert formed.doing == "running a cell on ranks 0-3"
    while not formed.interrupt():
        pass
    end_of(thread)
    assert formed.doing == ""


def test_in_background_returns_for_work_that_never_takes_a_turn(formed):
    done = []
    thread = formed.in_background(lambda: done.append(1))
    end_of(thread)
    assert done == [1]
    assert formed.changes.subscribers == 0


# -- snapshots and subscribers -----------------------------------------------------------------


def test_a_snapshot_holds_backend_world_size_generation_cluster_and_states(formed):
    snapshot = formed.snapshot()
    assert (snapshot.backend, snapshot.world_size, snapshot.generation) == ("gloo", 4, 1)
    assert snapshot.doing == ""
    assert snapshot.cluster == "fake-cluster"
    assert [s.info for s in snapshot.states] == [
        GroupInfo("gloo", r, 4, "cpu", r == 0, r, 1) for r in range(4)
    ]


def test_a_session_is_shut_down_at_the_end_of_its_block(formed):
    with formed as session:
        assert session is formed
    assert formed.is_closed
    with pytest.raises(SessionError, match="This session is shut down"):
        formed.run("1")


def test_subscribers_are_called_at_every_change(formed, pool):
    heard = []
    formed.changes.subscribe(lambda: heard.append(formed.doing))
    formed.run("rank", "0")
    assert heard == ["running a cell on rank 0", ""]
    heard.clear()
    formed.reset()
    assert heard[0] == "resetting"
    assert heard[-1] == ""
    heard.clear()
    pool.kill(1)
    assert heard == [""]
    heard.clear()
    formed.shutdown()
    assert heard == ["shut down"]


def test_a_subscriber_that_has_stopped_is_not_called(formed):
    heard = []
    stop = formed.changes.subscribe(lambda: heard.append(1))
    stop()
    stop()
    formed.run("rank")
    assert heard == []


def test_a_subscriber_may_stop_while_it_is_called(formed):
    heard = []
    stops = []

    def once():
        heard.append(1)
        stops[0]()

    stops.append(formed.changes.subscribe(once))
    formed.changes.subscribe(lambda: heard.append(2))
    formed.run("rank")
    assert heard == [1, 2, 2]


def test_a_session_makes_its_dashboard_once(session, monkeypatch):
    made = []
    monkeypatch.setattr("rankbook.widgets.Dashboard", lambda its: made.append(its) or object())
    assert session.dashboard() is session.dashboard()
    assert made == [session]
