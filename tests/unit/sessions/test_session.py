"""The session's state machine, on engines that live in this process."""

from __future__ import annotations

import gc
import signal
import threading
import weakref
from contextlib import suppress
from unittest.mock import Mock

import pytest
from fakes import FOR_GOOD, FakePool
from processes import wait_until
from steps import SOON, end_of, folder_of, infos, run_stuck

import rankbook
from rankbook import api
from rankbook import notebook as notebook_module
from rankbook.cluster.launchers.base import Ended
from rankbook.cluster.pool import Pool
from rankbook.errors import ClusterError, InputError, RankbookError, SessionError, StuckError
from rankbook.models import GroupInfo
from rankbook.sessions.cells.cells import Cells

# -- busy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.run("rank"),
        lambda s: s.initialize("gloo"),
        lambda s: s.reset(),
        lambda s: s.destroy(),
        lambda s: s.pull("x"),
        lambda s: s.push(x=1),
        lambda s: s.restart_ranks([0]),
    ],
    ids=["run", "initialize", "reset", "destroy", "pull", "push", "restart_ranks"],
)
def test_a_busy_session_says_what_it_does_and_refuses(formed, pool, act):
    thread, _ = run_stuck(formed, "0-1")
    before = len(pool.wire.requests)
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == (
        "The session is running a cell on ranks 0-1: wait, or run %dist_interrupt."
    )
    assert len(pool.wire.requests) == before
    formed.interrupt()
    end_of(thread)
    assert formed.run("rank").ok


def test_a_busy_session_answers_states_stacks_and_snapshots(formed):
    thread, _ = run_stuck(formed, "1", "wait_in('all_reduce', seq=1)")
    assert formed.doing == "running a cell on rank 1"
    assert repr(formed).endswith("generation 1, running a cell on rank 1>")
    states = formed.states()
    assert [s.state for s in states] == ["idle", "waiting", "idle", "idle"]
    assert formed.snapshot().doing == "running a cell on rank 1"
    assert formed.stacks()[1] == ["stack of engine 1\n"]
    assert formed.select("0,1") == (0, 1)
    formed.interrupt()
    end_of(thread)


def test_a_session_is_ready_again_after_it_raised_an_error(formed):
    with pytest.raises(InputError):
        formed.pull("nothing")
    assert formed.doing == ""
    assert formed.run("rank").ok


# -- busy, and interrupted for something else ------------------------------------------------

RENEWS = [
    lambda s: s.initialize("gloo", interrupt=True),
    lambda s: s.reset(interrupt=True),
    lambda s: s.restart_ranks([3], interrupt=True),
]
NAMES = ["initialize", "reset", "restart_ranks"]


@pytest.mark.parametrize("code", ["stick()", "wait_in('all_reduce', seq=1)"])
@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_with_interrupt_ends_the_running_cell_and_makes_one_new_group(
    formed, renew, code
):
    """There is one new group, not a second one that repairs the old."""
    formed.run("kept = rank")
    thread, ended = run_stuck(formed, code=code)
    renew(formed)
    end_of(thread)
    assert formed.generation == 2
    result = ended["result"]
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}
    assert "the process group was re-created" not in result.note
    assert formed.run("rank").ok
    assert formed.pull("kept", "0-2") == {0: 0, 1: 1, 2: 2}
    assert formed.generation == 2


@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_with_interrupt_frees_no_rank_of_an_idle_session(formed, pool, renew):
    renew(formed)
    assert formed.generation == 2
    assert pool.asked("free") == []


def test_a_hang_is_freed_in_a_group_made_by_a_reset_with_interrupt(formed, watchful):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    formed.reset(interrupt=True)
    end_of(thread)
    formed.run("if rank: wait_in('all_reduce', seq=1)")
    assert formed.generation == 3
    assert formed.run("rank").ok


def test_initialize_with_interrupt_changes_the_world_size_while_a_cell_hangs(formed):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    formed.initialize(nproc=2, interrupt=True)
    end_of(thread)
    assert (formed.world_size, formed.generation) == (2, 2)


IMPOSSIBLE = [
    lambda s: s.initialize("nccl", interrupt=True),
    lambda s: s.initialize("nccl", nproc=9, interrupt=True),
    lambda s: s.initialize(nproc=0, interrupt=True),
    lambda s: s.initialize(timeout_minutes=-1, interrupt=True),
    lambda s: s.reset("nccl", interrupt=True),
]


@pytest.mark.parametrize("renew", IMPOSSIBLE)
def test_an_infeasible_group_is_refused_without_interrupting_the_running_cell(formed, pool, renew):
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    with pytest.raises(RankbookError):
        renew(formed)
    assert thread.is_alive()
    assert pool.asked("free") == []
    assert pool.grown == []
    assert formed.generation == 1
    formed.interrupt()
    end_of(thread)


NO_ROOM = [
    lambda s: s.reset(interrupt=True),
    lambda s: s.restart_ranks(interrupt=True),
    lambda s: s.initialize(nproc=9, interrupt=True),
]


@pytest.mark.parametrize("renew", NO_ROOM, ids=["reset", "restart_ranks", "initialize"])
def test_a_renewal_that_needs_a_dead_rank_replaced_leaves_the_running_cell_alone(
    formed, pool, renew
):
    pool.launcher.can_add = False
    thread, _ = run_stuck(formed, "0-2", on_hang="wait")
    pool.kill(3)
    with pytest.raises(RankbookError):
        renew(formed)
    assert thread.is_alive()
    assert pool.asked("free") == []
    formed.interrupt()
    end_of(thread)


def test_after_an_interrupt_the_next_cell_is_never_refused(formed):
    for _ in range(20):
        thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
        again = threading.Thread(target=formed.interrupt)
        again.start()
        end_of(thread)
        assert formed.run("rank").ok
        end_of(again)


def test_an_interrupt_ends_a_cell_that_has_not_reached_the_ranks_yet(formed, pool, monkeypatch):
    run = Cells.run

    def late(*args):
        wait_until(lambda: len(pool.requested("look")) >= 2, SOON)
        return run(*args)

    monkeypatch.setattr(Cells, "run", late)
    ended = {}
    thread = threading.Thread(target=lambda: ended.update(result=formed.run("stick()")))
    thread.start()
    wait_until(lambda: formed.doing, SOON)
    assert formed.interrupt()
    end_of(thread)
    assert {its.error.ename for its in ended["result"].values()} == {"KeyboardInterrupt"}


def test_a_snapshot_never_carries_the_number_of_a_later_turn(formed, monkeypatch):
    states, begun = formed.states, formed.turn

    def slowly():
        seen = states()
        formed.run("rank")
        return seen

    monkeypatch.setattr(formed, "states", slowly)
    assert formed.snapshot().turn in {0, begun}


def test_a_renewal_that_fails_re_creates_the_group_that_it_cut(formed, pool, monkeypatch):
    def grow(count):
        raise ClusterError("There is no room for more.")

    monkeypatch.setattr(pool, "grow", grow)
    thread, _ = run_stuck(formed, code="wait_in('all_reduce', seq=1)")
    with pytest.raises(ClusterError, match="no room"):
        formed.initialize(nproc=9, interrupt=True)
    end_of(thread)
    assert formed.generation == 2
    assert formed.run("rank").ok


@pytest.mark.parametrize("renew", RENEWS, ids=NAMES)
def test_a_renewal_keeps_the_group_when_a_rank_ignores_the_interrupt(formed, pool, renew):
    pool[1].ignores = FOR_GOOD
    thread, _ = run_stuck(formed, "1")
    with pytest.raises(StuckError, match=r"rank 1 is at cell 1 line 1: stick\(\)"):
        renew(formed)
    assert thread.is_alive()
    assert formed.generation == 1
    pool[1].ignores = 0
    formed.interrupt()
    end_of(thread)
    assert formed.run("rank").ok


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda s: s.restart_ranks(interrupt=True), SessionError),
        (lambda s: s.restart_ranks([9], interrupt=True), InputError),
    ],
)
def test_a_refused_restart_of_ranks_leaves_the_running_cell_alone(formed, pool, act, error):
    thread, _ = run_stuck(formed)
    with pytest.raises(error):
        act(formed)
    assert thread.is_alive()
    assert pool.asked("free") == []
    formed.interrupt()
    end_of(thread)


# -- in the background -----------------------------------------------------------------------


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


# -- values ----------------------------------------------------------------------------------


def test_pull_brings_the_values_of_the_ranks(formed):
    formed.run("x = [rank] * 2")
    assert formed.pull("x") == {r: [r, r] for r in range(4)}
    assert formed.pull("x", "1,3") == {1: [1, 1], 3: [3, 3]}


@pytest.mark.parametrize(
    ("where", "ranks", "said"),
    [
        ("rank == 0", "all", "'x' exists only on rank 0; use -r 0."),
        ("rank > 1", "all", "'x' exists only on ranks 2-3; use -r 2-3."),
        ("False", "all", "'x' exists on none of ranks 0-3."),
        ("rank == 0", "1", "'x' exists on none of rank 1."),
    ],
)
def test_pulling_a_missing_variable_names_the_ranks_that_have_it(formed, where, ranks, said):
    formed.run(f"if {where}: x = 1")
    with pytest.raises(InputError) as caught:
        formed.pull("x", ranks)
    assert str(caught.value) == said


def test_pulling_a_value_that_does_not_pickle_is_refused(formed):
    formed.run("import threading\nx = threading.Lock() if rank == 2 else 0")
    with pytest.raises(InputError, match=r"'x' \(lock\) cannot be sent"):
        formed.pull("x")


def test_push_sends_values_to_the_ranks(formed, pool):
    formed.push(lr=0.1, name="é")
    assert [pool[n].names["lr"] for n in pool.engines] == [0.1] * 4
    formed.push("1", lr=0.2)
    assert [pool[n].names["lr"] for n in pool.engines] == [0.1, 0.2, 0.1, 0.1]
    assert pool[3].names["name"] == "é"


def test_push_accepts_variables_named_ranks_and_self(formed, pool):
    formed.push("0", ranks=[1], self=2)
    assert pool[0].names["ranks"] == [1]
    assert pool[0].names["self"] == 2


def test_pushing_a_value_that_does_not_pickle_sends_nothing(formed, pool):
    with pytest.raises(InputError, match=r"'bad' \(lock\) cannot be sent"):
        formed.push(good=1, bad=threading.Lock())
    assert pool.asked("push") == []
    assert formed.doing == ""


@pytest.mark.parametrize("act", [lambda s: s.pull("x", "9"), lambda s: s.push("9", x=1)])
def test_pull_and_push_refuse_a_rank_outside_the_world(formed, act):
    with pytest.raises(InputError, match="There is no rank 9"):
        act(formed)


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.pull("x"),
        lambda s: s.push(x=1),
        lambda s: s.stacks(),
        lambda s: s.diagnose(),
        lambda s: s.restart_ranks([0]),
    ],
)
def test_a_session_without_a_group_refuses_what_needs_ranks(session, act):
    with pytest.raises(SessionError, match="There is no process group"):
        act(session)


# -- engines that end or do not answer -------------------------------------------------------


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


def test_a_hard_reset_replaces_the_engines(formed, pool):
    formed.run("x = 1")
    pool.kill(2)
    formed.reset(hard=True)
    assert formed.ended == {}
    assert formed.world_size == 4
    assert formed.generation == 2
    assert formed.run("'x' in globals()")[0].result_repr == "False"


def test_a_hard_reset_keeps_the_number_of_ranks(formed):
    formed.initialize(nproc=3)
    formed.reset(hard=True)
    assert formed.world_size == 3


@pytest.mark.parametrize("code", ["stick()", "wait_in('all_reduce', seq=1)"])
def test_a_hard_reset_ends_the_running_cell(formed, code):
    thread, ended = run_stuck(formed, code=code)
    formed.reset(hard=True)
    end_of(thread)
    assert {ended["result"][r].error.ename for r in range(4)} == {"EngineError"}
    assert formed.run("rank").ok


def test_a_hard_reset_ends_the_running_cell_when_engines_end_one_by_one(formed, pool, monkeypatch):
    thread, ended = run_stuck(formed)
    replace = pool.replace

    def one_by_one():
        pool.kill(0)
        wait_until(lambda: pool.asked("look") or not thread.is_alive(), SOON)
        replace()

    monkeypatch.setattr(pool, "replace", one_by_one)
    formed.reset(hard=True)
    end_of(thread)
    assert {ended["result"][r].error.ename for r in range(4)} == {"EngineError"}


def test_a_hard_reset_of_joined_engines_is_refused_and_changes_nothing(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    with pytest.raises(RankbookError):
        session.reset(hard=True)
    assert session.world_size == 2
    assert session.run("rank").ok


@pytest.mark.parametrize(
    "act", [lambda session: session.reset(hard=True), lambda session: session.restart_ranks([1])]
)
def test_new_engines_that_could_not_start_end_and_change_nothing(formed, pool, monkeypatch, act):
    asked = []

    def refuse(n, instead_of):
        asked.append((n, sorted(instead_of)))
        raise ClusterError("beta cannot be reached.")

    monkeypatch.setattr(pool.launcher, "refuse_start", refuse)
    formed.run("x = 7")
    with pytest.raises(ClusterError, match="beta cannot be reached"):
        act(formed)
    assert asked in ([(4, [0, 1, 2, 3])], [(1, [1])])
    assert (formed.world_size, formed.generation, formed.ended) == (4, 1, {})
    assert formed.run("x")[1].result_repr == "7"


def test_an_engine_that_ends_while_it_starts_is_not_waited_for(pool, monkeypatch):
    def add(n):
        pool._take(Ended(9, -9))
        return {9}

    monkeypatch.setattr(pool.launcher, "add", add)
    with pytest.raises(ClusterError, match=r"^Engine 9 was killed by SIGKILL while it started\.$"):
        pool.grow(1)
    with pytest.raises(ClusterError, match="Engine 9"):
        pool.wait_for(5, 60)
    pool.wait_for(4, 60, old={9})


def test_a_cluster_without_engines_says_how_to_get_others(session, pool):
    for engine in range(4):
        pool.kill(engine)
    with pytest.raises(ClusterError, match="no engines any more: %dist_reset --hard"):
        session.initialize("gloo", 2)


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


# -- replacing ranks ----------------------------------------------------------------------------


def test_restart_ranks_replaces_dead_ranks_and_keeps_the_others(formed, pool):
    formed.run("x = rank")
    pool.kill(2)
    pool.kill(0, 1)
    formed.restart_ranks()
    assert (formed.world_size, formed.generation) == (4, 2)
    assert dict(formed.ended) == {2: -9, 0: 1}
    assert formed.pull("x", "1,3") == {1: 1, 3: 3}
    assert formed.run("rank")[2].result_repr == "2"
    assert [state.info.rank for state in formed.states()] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("ranks", "replaced"), [("1", {1}), ([0, 3], {0, 3}), (-1, {3}), ("all", {0, 1, 2, 3})]
)
def test_restart_ranks_replaces_living_ranks(formed, pool, ranks, replaced):
    formed.run("x = rank")
    formed.restart_ranks(ranks)
    assert [n for n in range(4) if n in pool.engines] == sorted({0, 1, 2, 3} - replaced)
    assert formed.world_size == 4


def test_restart_ranks_replaces_dead_ranks_beside_the_given_ones(formed, pool):
    pool.kill(3)
    formed.restart_ranks("1")
    assert pool.engines == [0, 2, 4, 5]
    assert formed.run("rank").ok


def test_restart_ranks_without_a_dead_rank_asks_which(formed):
    with pytest.raises(SessionError) as caught:
        formed.restart_ranks()
    assert str(caught.value) == "No rank has ended: name the ranks to replace."
    assert formed.generation == 1


def test_restart_ranks_refuses_a_rank_outside_the_world(formed, pool):
    with pytest.raises(InputError, match="There is no rank 4"):
        formed.restart_ranks("4")
    assert pool.engines == [0, 1, 2, 3]


def test_a_rank_that_ignores_interrupts_can_be_replaced(formed, pool):
    pool[1].ignores = FOR_GOOD
    formed.run("x = rank")
    with pytest.raises(StuckError, match=r"restart_ranks\(\[1\]\)"):
        formed.run("if rank == 1: stick()", timeout=0.02)
    formed.restart_ranks([1])
    assert formed.run("rank").ok
    assert formed.pull("x", "0") == {0: 0}


# -- leaving and shutting down ---------------------------------------------------------------


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


# -- snapshots and subscribers ---------------------------------------------------------------


def test_a_snapshot_holds_backend_world_size_generation_cluster_and_states(formed):
    snapshot = formed.snapshot()
    assert (snapshot.backend, snapshot.world_size, snapshot.generation) == ("gloo", 4, 1)
    assert snapshot.doing == ""
    assert snapshot.cluster == "fake-cluster"
    assert [s.info for s in snapshot.states] == [
        GroupInfo("gloo", r, 4, "cpu", r == 0, r, 1) for r in range(4)
    ]


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
