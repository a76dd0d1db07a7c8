"""Sessions with engines that end or do not answer."""

from __future__ import annotations

import pytest
from steps import end_of, run_stuck

from rankbook.errors import ClusterError, SessionError
from rankbook.models.requests import Pull


def test_states_are_ordered_by_rank_with_spares_last(make):
    session = make(4, hosts="ab")
    session.initialize("gloo", 3)
    states = session.states()
    assert [(s.engine, s.info and s.info.rank) for s in states] == [
        (0, 0),
        (2, 1),
        (1, 2),
        (3, None),
    ]
    assert {s.state for s in states} == {"idle"}


def test_a_silent_engine_has_the_state_no_answer(formed, pool):
    pool[1].answers = False
    states = formed.states()
    assert [s.state for s in states] == ["idle", "no answer", "idle", "idle"]
    assert states[1].info.rank == 1
    assert (states[1].line, states[1].ended) == ("", "")


def test_a_rank_that_ends_before_it_answers_is_told_with_what_to_type(formed, pool):
    formed.run("x = rank")
    pool[2].answers = False
    call = formed.members.ranks().request(Pull("x"))
    pool.kill(2)
    assert call.wait(5)
    with pytest.raises(SessionError, match="Rank 2 was killed by SIGKILL: %dist_restart 2"):
        call.raise_for_failure()


@pytest.mark.parametrize("happens", ["does not answer", "ends"])
def test_host_and_pid_of_an_engine_are_shown_after_it_ended_or_fell_silent(make, happens):
    session = make(4, hosts="ab")
    session.initialize("gloo")
    before = session.states()[2]
    if happens == "ends":
        session.pool.kill(before.engine)
    else:
        session.pool[before.engine].answers = False
    after = session.states()[2]
    assert after.state in {"gone", "no answer"}
    assert (after.host, after.pid) == (before.host, before.pid) == ("b", 101)


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize(
    ("status", "said"),
    [(-9, "was killed by SIGKILL"), (3, "ended with exit code 3"), (0, "ended with exit code 0")],
)
def test_an_ended_engine_is_shown_as_gone_with_its_exit_status(
    formed, pool, status, said, registered
):
    pool.kill(1, status, registered=registered)
    state = formed.states()[1]
    assert (state.state, state.info.rank, state.ended) == ("gone", 1, said)


def test_an_engine_that_left_a_joined_cluster_is_shown_as_gone(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool.kill(1)
    state = session.states()[1]
    assert (state.state, state.ended) == ("gone", "has ended")


def test_an_engine_that_ends_during_a_cell_fails_on_its_rank_only(formed, pool):
    thread, ended = run_stuck(formed, "1")
    pool.kill(1)
    end_of(thread)
    assert ended["result"][1].error.ename == "EngineError"
    assert ended["result"][1].error.evalue == "rank 1 was killed by SIGKILL"


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.run("rank"),
        lambda s: s.pull("x"),
        lambda s: s.push(x=1),
        lambda s: s.initialize("gloo"),
        lambda s: s.reset(),
    ],
    ids=["run", "pull", "push", "initialize", "reset"],
)
def test_a_session_with_a_dead_rank_refuses_work_and_says_what_to_run(formed, pool, act):
    pool.kill(2)
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == (
        "Rank 2 was killed by SIGKILL: %dist_restart 2 (or restart_ranks([2])) replaces it and "
        "keeps the others."
    )


@pytest.mark.parametrize(
    ("size", "dead", "told"),
    [
        (3, [2], "%dist_restart 2 (or restart_ranks([2])) replaces it and keeps the others."),
        (4, [2], ("%dist_init -n 3 goes on without it; or start 1 engine where the others were "
                  "started, then %dist_restart 2 (or restart_ranks([2])) replaces it and keeps "
                  "the others.")),
        (3, [0, 1], ("%dist_init -n 1 goes on without them; or start 1 engine where the others "
         "were started, then %dist_restart 0-1 (or restart_ranks([0, 1])) replaces them and keeps "
         "the others.")),
        (4, [0, 1, 2, 3], ("start 4 engines where the others were started, then %dist_restart 0-3 "
         "(or restart_ranks([0, 1, 2, 3])) replaces them and keeps the others.")),
    ],
)  # fmt: skip
def test_where_no_engine_can_be_added_a_death_says_what_works(formed, pool, size, dead, told):
    formed.initialize("gloo", size)
    pool.launcher.can_add = False
    for rank in dead:
        pool.kill(formed.members.placement.engines[rank])
    assert formed.told_of_dead.endswith(f": {told}")


def test_the_refusal_names_every_dead_rank(formed, pool):
    pool.kill(2)
    pool.kill(0, 1)
    with pytest.raises(SessionError) as caught:
        formed.run("rank")
    assert str(caught.value) == (
        "Rank 0 ended with exit code 1, rank 2 was killed by SIGKILL: "
        "%dist_restart 0,2 (or restart_ranks([0, 2])) replaces them and keeps the others."
    )


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.run("rank", "0,2"),
        lambda s: s.pull("x", "2-3"),
        lambda s: s.push("-2", x=1),
        lambda s: s.select("1:"),
    ],
    ids=["run", "pull", "push", "select"],
)
def test_a_selection_that_contains_a_dead_rank_is_refused(formed, pool, act):
    pool.kill(2)
    with pytest.raises(SessionError, match="Rank 2 was killed by SIGKILL"):
        act(formed)


def test_living_ranks_run_cells_beside_a_dead_rank(formed, pool):
    pool.kill(2)
    assert formed.select("0,1,3") == (0, 1, 3)
    formed.push("0,1", x=1)
    assert formed.pull("x", "0,1") == {0: 1, 1: 1}
    assert formed.run("rank", "0,1,3").ok


def test_a_cell_that_succeeds_beside_a_dead_rank_raises_nothing(formed, pool):
    pool.kill(2)
    result = formed.run("rank", "0,1,3")
    assert result.diagnosis is None
    result.raise_for_error()


def test_an_interrupt_asks_no_dead_rank(formed, pool):
    pool.kill(2)
    assert formed.interrupt() is False
    assert 2 not in pool.asked("look")
    assert pool.asked("free") == []
    formed.run("if rank == 1: stick()", "0,1", timeout=0.02)
    assert set(pool.asked("free")) == {1}


def test_stacks_of_living_ranks_are_answered_beside_a_dead_rank(formed, pool):
    pool.kill(2)
    assert formed.stacks()[0] == ["stack of engine 0\n"]


def test_every_call_after_the_controller_is_lost_raises_an_error_that_says_so(formed, pool):
    pool.channel.lost.set()
    for act in (
        lambda: formed.run("rank"),
        formed.states,
        formed.interrupt,
        formed.reset,
        formed.diagnose,
    ):
        with pytest.raises(ClusterError, match="controller is gone"):
            act()
    assert formed.doing == ""
