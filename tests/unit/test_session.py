"""The session's state machine, on engines that live in this process."""

from __future__ import annotations

import inspect
import threading
from pathlib import Path

import fakes
import pytest

from rankbook.cluster.channel import Channel
from rankbook.cluster.pool import Pool
from rankbook.errors import (
    BackendError,
    ClusterError,
    DeviceError,
    EngineError,
    InputError,
    RankbookError,
    RankError,
    RendezvousError,
    SessionError,
)
from rankbook.models import GroupInfo
from rankbook.sessions import cells, formation, looking
from rankbook.sessions.session import Session

SOON = 10.0  # seconds for something that another thread does at once


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nobody waits long for engines that are known not to answer."""
    monkeypatch.setattr(looking, "ANSWER_TIMEOUT", 0.02)
    monkeypatch.setattr(cells, "_INTERRUPT_GRACE", 0.02)
    monkeypatch.setattr(formation, "LEAVE_TIMEOUT", 0.02)
    monkeypatch.setattr(formation, "_UNDO_TIMEOUT", 0.02)
    monkeypatch.setattr(formation, "_MARGIN", 0.02)


@pytest.fixture
def formed(session):
    """A session whose group of four is formed."""
    session.initialize("gloo")
    return session


@pytest.fixture
def make():
    """Makes sessions on pools of one's own, and shuts them down."""
    made = []

    def new(*args, **options):
        made.append(Session(fakes.FakePool(*args, **options), lambda its: None))
        return made[-1]

    yield new
    for session in made:
        session.shutdown()


class Recorder:
    """A CellOutput that keeps what it is told."""

    def __init__(self):
        self.events, self.running, self.finished = [], [], 0

    def event(self, rank, body):
        self.events.append((rank, body))

    def pause(self, running):
        self.running.append(set(running))
        return 0.01

    def finish(self):
        self.finished += 1


def infos(pool):
    return [pool[number].info for number in pool.engines]


def run_stuck(session, ranks="all", **options):
    """Run a cell that hangs, in the background; returns where its end will be found."""
    ended = {}

    def work():
        try:
            ended["result"] = session.run("stick()", ranks, **options)
        except RankbookError as error:
            ended["error"] = error

    thread = session.in_background(work)
    chosen = session.select(ranks)
    engines = [session.pool[session.placement.engines[rank]] for rank in chosen]
    deadline = threading.Event()
    while any(engine.stuck is None for engine in engines):
        assert not deadline.wait(0.001)
    return thread, ended


def end_of(thread):
    thread.join(SOON)
    assert not thread.is_alive()


# -- the seam --------------------------------------------------------------------------------


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("fake", "real", "own"),
    [
        (fakes.FakePool(), Pool, {"all", "closed", "grown", "kill", "asked", "requested"}),
        (fakes.FakePool().channel, Channel, {"requests", "awaited"}),
    ],
)
def test_the_fake_has_nothing_that_the_real_one_lacks(fake, real, own):
    source = inspect.getsource(real.__init__)
    attributes = {name for name in ("channel", "on_end", "lost") if f"self.{name}" in source}
    assert public(fake) - own - public(real) - attributes == set()


@pytest.mark.parametrize("name", ["grow", "replace", "facts", "close"])
def test_methods_of_the_fake_pool_take_what_the_real_ones_take(name):
    real, fake = (inspect.signature(getattr(cls, name)) for cls in (Pool, fakes.FakePool))
    assert list(fake.parameters) == list(real.parameters)


def test_the_fake_engines_know_every_operation():
    from rankbook.engine.agent import Agent

    known = {"run", "interrupt", "facts", "pull", "push"}
    known |= {name for name in vars(fakes.FakeEngine) if not name.startswith("_")}
    assert set(Agent._LOOK) | set(Agent._WORK) <= known


# -- forming a group -------------------------------------------------------------------------


def test_a_new_session_has_no_group(session):
    assert session.world_size == 0
    assert session.backend == ""
    assert session.generation == 0
    assert session.infos == {}
    assert not session.is_closed
    assert repr(session) == "<Session: no group, generation 0>"


def test_initialising_takes_every_engine(session, pool):
    session.initialize("gloo")
    assert session.world_size == 4
    assert session.backend == "gloo"
    assert session.generation == 1
    assert [info.rank for info in infos(pool)] == [0, 1, 2, 3]
    assert repr(session) == "<Session: gloo, 4 ranks, generation 1>"


def test_infos_are_what_initialize_distributed_returns(formed):
    import torch

    from rankbook import DistInfo

    cpu = torch.device("cpu")
    assert formed.infos == {r: DistInfo("gloo", r, 4, cpu, is_main=r == 0) for r in range(4)}


def test_groups_are_a_copy(formed):
    formed.groups.clear()
    assert formed.world_size == 4


def test_the_default_backend_depends_on_gpus(make):
    for gpus, backend in [(0, "gloo"), (2, "nccl")]:
        session = make(2, gpus=gpus)
        session.initialize()
        assert session.backend == backend


def test_every_initialisation_is_a_new_generation(formed, pool):
    formed.initialize("gloo")
    formed.reset()
    assert formed.generation == 3
    assert {info.generation for info in infos(pool)} == {3}


def test_backend_size_and_timeout_are_kept_unless_changed(make):
    session = make(4, gpus=4)
    session.initialize("gloo", 3, 7)
    session.initialize()
    assert (session.backend, session.world_size, session.timeout_minutes) == ("gloo", 3, 7)
    session.initialize("nccl")
    assert (session.backend, session.world_size, session.timeout_minutes) == ("nccl", 3, 7)
    session.initialize(timeout_minutes=2)
    assert (session.backend, session.world_size, session.timeout_minutes) == ("nccl", 3, 2)
    session.reset("gloo")
    assert (session.backend, session.world_size, session.timeout_minutes) == ("gloo", 3, 2)


def test_what_the_engines_are_told(session, pool):
    session.initialize("gloo", 2, 5)
    [args] = pool.requested("initialize")
    store = args[0].pop("url"), args[1].pop("url")
    assert store[0] == store[1]
    assert store[0].startswith("file:///")
    assert store[0].endswith("/store-1")
    common = {
        "backend": "gloo",
        "timeout_minutes": 5,
        "generation": 1,
        "world_size": 2,
        "local_world_size": 2,
        "address": "127.0.0.1",
    }
    assert args == {r: common | {"rank": r, "local_rank": r} for r in range(2)}


def test_every_generation_on_one_host_meets_in_a_file_of_its_own(formed, pool):
    formed.reset()
    first, second = pool.requested("initialize")
    assert first[0]["url"] != second[0]["url"]


def test_on_several_hosts_the_first_address_that_all_reach_is_taken(make):
    session = make(4, hosts="ab")
    session.pool[1].reachable = {"a-2"}
    session.initialize("gloo")
    [args] = session.pool.requested("initialize")
    assert {its["url"] for its in args.values()} == {"tcp://a-2:1234"}
    assert {its["address"] for its in args.values()} == {"a-2"}
    assert [args[e]["rank"] for e in (0, 2, 1, 3)] == [0, 1, 2, 3]
    assert [args[e]["local_rank"] for e in (0, 2, 1, 3)] == [0, 1, 0, 1]


def test_only_engines_on_other_hosts_are_asked_whether_they_reach_the_store(make):
    session = make(4, hosts="ab")
    session.initialize("gloo")
    assert session.pool.asked("reaches") == [1, 3]
    assert session.pool.asked("host_store") == [0]


def test_hosts_that_cannot_reach_each_other_are_named(make):
    session = make(2, hosts="ab")
    session.pool[1].reachable = set()
    with pytest.raises(ClusterError) as caught:
        session.initialize("gloo")
    assert "No address of a (a-1, a-2) can be reached from b" in str(caught.value)
    assert session.world_size == 0


def test_fewer_ranks_leave_spare_engines_out_of_the_group(formed, pool):
    formed.initialize(nproc=2)
    assert formed.world_size == 2
    assert [info is not None for info in infos(pool)] == [True, True, False, False]
    assert formed.placement.spare == (2, 3)


def test_spare_engines_keep_their_variables_and_come_back(formed, pool):
    formed.run("x = rank")
    formed.initialize(nproc=1)
    formed.initialize(nproc=4)
    assert formed.pull("x") == {0: 0, 1: 1, 2: 2, 3: 3}
    assert pool.grown == []


def test_more_ranks_start_the_missing_engines(formed, pool):
    formed.initialize(nproc=6)
    assert pool.grown == [2]
    assert formed.world_size == 6
    assert all(info.world_size == 6 for info in infos(pool))


def test_engines_are_asked_for_their_facts_once(session, pool, monkeypatch):
    asked = []
    facts = pool.facts
    monkeypatch.setattr(pool, "facts", lambda engines: asked.append(engines) or facts(engines))
    session.initialize("gloo")
    session.reset()
    session.initialize(nproc=5)
    assert asked == [[0, 1, 2, 3], [4]]


def test_a_cluster_that_cannot_grow_says_so_and_keeps_its_group(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    with pytest.raises(ClusterError, match="cannot grow"):
        session.initialize(nproc=3)
    assert session.world_size == 2
    assert session.generation == 1
    assert session.run("rank").ok


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (("ncll",), BackendError, "There is no backend 'ncll'"),
        (("nccl",), DeviceError, "nccl needs GPUs"),
        (("gloo", 0), InputError, "0 ranks make no group"),
        (("gloo", -1), InputError, "-1 ranks make no group"),
        (("gloo", 2, 0), InputError, "A timeout of 0 minutes is none"),
        (("gloo", 2, -1.5), InputError, "A timeout of -1.5 minutes is none"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_changes(formed, pool, args, error, said):
    before = formed.generation, formed.groups, formed.timeout_minutes, infos(pool)
    with pytest.raises(error, match=said):
        formed.initialize(*args)
    assert (formed.generation, formed.groups, formed.timeout_minutes, infos(pool)) == before
    assert formed.doing == ""
    assert formed.run("rank").ok


@pytest.mark.parametrize("args", [("ncll", 6, 9), ("nccl", 2, 9)])
def test_a_refusal_leaves_the_timeout_as_it_was(formed, args):
    with pytest.raises(InputError):
        formed.initialize(*args)
    assert formed.timeout_minutes == 1


def test_a_refused_backend_starts_no_engines(formed, pool):
    with pytest.raises(BackendError):
        formed.initialize("ncll", 6)
    assert pool.grown == []


def test_a_refused_backend_is_not_remembered(formed):
    with pytest.raises(BackendError):
        formed.initialize("ncll")
    formed.reset()
    assert formed.backend == "gloo"


# -- a group that does not come about --------------------------------------------------------


def test_an_engine_that_refuses_leaves_no_group(formed, pool):
    pool[2].refuses = BackendError("torch was built without it.")
    with pytest.raises(BackendError, match="torch was built without it"):
        formed.reset()
    assert formed.world_size == 0
    assert formed.backend == ""
    assert infos(pool) == [None] * 4
    assert all(engine.stuck is None for engine in pool.all.values())


def test_an_engine_that_does_not_come_is_named_by_its_rank(formed, pool):
    pool[3].answers = False
    with pytest.raises(RendezvousError) as caught:
        formed.initialize(timeout_minutes=0.0005)
    assert "of 4 did not form the group" in str(caught.value)
    assert formed.world_size == 0
    assert infos(pool)[:3] == [None] * 3


def test_after_a_failure_the_session_is_ready_again(formed, pool):
    pool[2].refuses = BackendError("not now.")
    with pytest.raises(BackendError):
        formed.reset()
    with pytest.raises(SessionError, match="There is no process group"):
        formed.run("rank")
    pool[2].refuses = None
    formed.initialize()
    assert formed.world_size == 4
    assert formed.generation == 3


def test_an_engine_that_ends_while_the_group_forms_leaves_none(session, pool, monkeypatch):
    pool[1].answers = False
    ask = pool.channel.request

    def request(op, args, buffers=()):
        call = ask(op, args, buffers)
        if op == "initialize":
            pool.kill(1)
        return call

    monkeypatch.setattr(pool.channel, "request", request)
    with pytest.raises(EngineError, match="Engine 1 has ended"):
        session.initialize("gloo")
    assert session.world_size == 0
    assert infos(pool) == [None] * 3


def test_ctrl_c_while_the_group_forms_leaves_none(session, pool, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    pool[1].refuses = EngineError("never asked")
    monkeypatch.setattr(formation, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.initialize("gloo")
    assert infos(pool) == [None] * 4
    assert session.doing == ""


def test_no_call_is_left_behind(formed, pool):
    pool[0].refuses = EngineError("no.")
    with pytest.raises(EngineError):
        formed.reset()
    pool[0].refuses = None
    formed.reset()
    formed.run("rank")
    formed.states()
    assert pool.channel.awaited == 0


# -- cells -----------------------------------------------------------------------------------


def test_a_cell_runs_on_every_rank(formed):
    result = formed.run("import sys\nprint('out', rank)\nprint('err', file=sys.stderr)\nrank * 10")
    assert result.ok
    assert [result[r].stdout for r in range(4)] == [f"out {r}\n" for r in range(4)]
    assert {result[r].stderr for r in range(4)} == {"err\n"}
    assert [result[r].result_repr for r in range(4)] == ["0", "10", "20", "30"]
    assert {result[r].seconds for r in range(4)} == {0.25}


@pytest.mark.parametrize(
    ("ranks", "chosen"),
    [("all", [0, 1, 2, 3]), ("0,2", [0, 2]), (1, [1]), ([3, 0], [0, 3]), ("-1", [3])],
)
def test_a_cell_runs_on_the_ranks_that_are_chosen(formed, pool, ranks, chosen):
    assert list(formed.run("ran = True", ranks)) == chosen
    assert [n for n in pool.engines if "ran" in pool[n].names] == chosen


def test_ranks_are_not_engines(make):
    """On several hosts rank 1 is engine 2."""
    session = make(4, hosts="ab")
    session.initialize("gloo")
    session.run("x = 'here'", "1")
    assert [n for n in session.pool.engines if "x" in session.pool[n].names] == [2]
    assert session.run("rank")[1].result_repr == "1"


def test_variables_are_kept_between_cells_and_generations(formed):
    formed.run("x = rank + 1")
    formed.reset()
    assert formed.run("x")[3].result_repr == "4"


def test_an_error_on_a_rank_is_in_the_result_and_not_raised(formed):
    result = formed.run("if rank == 2: raise ValueError('no')\nrank")
    assert not result.ok
    assert result[0].ok
    assert (result[2].error.ename, result[2].error.evalue) == ("ValueError", "no")
    assert result[2].error.traceback == ("ValueError: no",)
    assert result[2].result_repr is None
    with pytest.raises(RankError, match="ValueError on rank 2: no"):
        result.raise_for_error()


def test_output_is_shown_while_it_comes_and_finished_once(formed):
    output = Recorder()
    formed.run("print('hello')\nrank", "0,1", output=output)
    assert [(r, b) for r, b in output.events if b[0] == "stream" and b[2].strip()] == [
        (0, ["stream", "stdout", "hello"]),
        (1, ["stream", "stdout", "hello"]),
    ]
    assert [rank for rank, body in output.events if body[0] == "result"] == [0, 1]
    assert output.finished == 1


@pytest.mark.parametrize(
    ("ranks", "error", "said"),
    [
        ("4", InputError, "There is no rank 4"),
        ("nobody", InputError, "is no selection"),
        ([], InputError, "No ranks given"),
    ],
)
def test_ranks_that_are_not_there_are_refused(formed, pool, ranks, error, said):
    with pytest.raises(error, match=said):
        formed.run("rank", ranks)
    assert pool.asked("run") == []


def test_a_cell_needs_a_group(session):
    with pytest.raises(SessionError, match="There is no process group: make one with %dist_init"):
        session.run("rank")


def test_a_spare_engine_runs_no_cells(formed, pool):
    formed.initialize(nproc=2)
    assert list(formed.run("rank")) == [0, 1]
    with pytest.raises(InputError, match="There is no rank 2"):
        formed.run("rank", "2")


def test_a_timeout_interrupts_the_cell(formed):
    result = formed.run("print('before')\nif rank == 1: stick()", timeout=0.02)
    assert result[0].ok
    assert result[1].error.ename == "KeyboardInterrupt"
    assert result[1].stdout == "before\n"


def test_only_ranks_that_still_run_are_interrupted(formed, pool):
    formed.run("if rank == 1: stick()", timeout=0.02)
    assert pool.asked("interrupt") == [1]


def test_ctrl_c_interrupts_the_cell(formed):
    class Impatient(Recorder):
        def pause(self, running):
            if not self.running:
                super().pause(running)
                raise KeyboardInterrupt
            return super().pause(running)

    output = Impatient()
    result = formed.run("stick()", "0,3", output=output)
    assert {result[r].error.ename for r in (0, 3)} == {"KeyboardInterrupt"}
    assert output.running[0] == {0, 3}
    assert output.finished == 1


def test_a_cell_that_no_interrupt_ends_says_where_it_is(formed, pool):
    pool[1].obeys = False
    output = Recorder()
    with pytest.raises(SessionError) as caught:
        formed.run("if rank: stick()", timeout=0.02, output=output)
    assert str(caught.value) == (
        "The interrupt did not end the cell: rank 1 is in all_reduce. It ends with the group's "
        "timeout of 1 min; %dist_reset may free it sooner and keeps all variables, "
        "%dist_reset --hard replaces the engines at once."
    )
    assert output.finished == 1
    assert formed.doing == ""


def test_the_message_about_a_stuck_cell_is_one_line_for_several_ranks(formed, pool):
    for number in (0, 2):
        pool[number].obeys = False
    with pytest.raises(SessionError) as caught:
        formed.run("stick()", timeout=0.02)
    assert "rank 0 is in all_reduce; rank 2 is in all_reduce." in str(caught.value)


def test_interrupt_from_elsewhere_ends_the_cell(formed):
    thread, ended = run_stuck(formed)
    assert formed.interrupt() is True
    end_of(thread)
    assert {ended["result"][r].error.ename for r in range(4)} == {"KeyboardInterrupt"}


def test_interrupting_ranks_that_do_nothing_says_so(formed):
    assert formed.interrupt() is False


def test_interrupting_without_a_group_is_refused(session):
    with pytest.raises(SessionError, match="There is no process group"):
        session.interrupt()


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
    ],
    ids=["run", "initialize", "reset", "destroy", "pull", "push"],
)
def test_a_busy_session_says_what_it_does_and_refuses(formed, pool, act):
    thread, _ = run_stuck(formed, "0-1")
    before = len(pool.channel.requests)
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == (
        "The session is running a cell on ranks 0-1: wait, or write %dist_interrupt."
    )
    assert len(pool.channel.requests) == before
    formed.interrupt()
    end_of(thread)
    assert formed.run("rank").ok


def test_a_busy_session_can_be_looked_at(formed):
    thread, _ = run_stuck(formed, "1")
    assert formed.doing == "running a cell on rank 1"
    assert repr(formed).endswith("generation 1, running a cell on rank 1>")
    states = formed.states()
    assert [s.state for s in states] == ["idle", "collective", "idle", "idle"]
    assert formed.snapshot().doing == "running a cell on rank 1"
    assert formed.stacks()[1] == ["stack of engine 1\n"]
    assert formed.select("0,1") == (0, 1)
    formed.interrupt()
    end_of(thread)


def test_the_session_is_ready_after_an_error_of_ours(formed):
    with pytest.raises(InputError):
        formed.pull("nothing")
    assert formed.doing == ""
    assert formed.run("rank").ok


# -- in the background -----------------------------------------------------------------------


def test_in_background_returns_once_the_session_is_busy(formed):
    thread = formed.in_background(lambda: formed.run("stick()"))
    assert formed.doing == "running a cell on ranks 0-3"
    while not formed.interrupt():
        pass
    end_of(thread)
    assert formed.doing == ""


def test_work_that_never_makes_the_session_busy_returns_too(formed):
    done = []
    thread = formed.in_background(lambda: done.append(1))
    end_of(thread)
    assert done == [1]
    assert formed.changes._listeners == []


# -- values ----------------------------------------------------------------------------------


def test_pull_brings_the_values_of_the_ranks(formed):
    formed.run("x = [rank] * 2")
    assert formed.pull("x") == {r: [r, r] for r in range(4)}
    assert formed.pull("x", "1,3") == {1: [1, 1], 3: [3, 3]}


@pytest.mark.parametrize(
    ("where", "ranks", "said"),
    [
        ("rank == 0", "all", "'x' exists only on rank 0; write -r 0."),
        ("rank > 1", "all", "'x' exists only on ranks 2-3; write -r 2-3."),
        ("False", "all", "'x' exists on none of ranks 0-3."),
        ("rank == 0", "1", "'x' exists on none of rank 1."),
    ],
)
def test_pulling_what_is_missing_names_the_ranks(formed, where, ranks, said):
    formed.run(f"if {where}: x = 1")
    with pytest.raises(InputError) as caught:
        formed.pull("x", ranks)
    assert str(caught.value) == said


def test_pulling_what_does_not_pickle_says_so(formed):
    formed.run("import threading\nx = threading.Lock() if rank == 2 else 0")
    with pytest.raises(InputError, match=r"'x' \(lock\) cannot be sent"):
        formed.pull("x")


def test_push_sends_values_to_the_ranks(formed, pool):
    formed.push(lr=0.1, name="é")
    assert [pool[n].names["lr"] for n in pool.engines] == [0.1] * 4
    formed.push("1", lr=0.2)
    assert [pool[n].names["lr"] for n in pool.engines] == [0.1, 0.2, 0.1, 0.1]
    assert pool[3].names["name"] == "é"


def test_a_variable_may_be_called_as_an_argument_of_ours_is(formed, pool):
    formed.push("0", ranks=[1], self=2)
    assert pool[0].names["ranks"] == [1]
    assert pool[0].names["self"] == 2


def test_pushing_what_does_not_pickle_sends_nothing(formed, pool):
    with pytest.raises(InputError, match=r"'bad' \(lock\) cannot be sent"):
        formed.push(good=1, bad=threading.Lock())
    assert pool.asked("push") == []
    assert formed.doing == ""


@pytest.mark.parametrize("act", [lambda s: s.pull("x", "9"), lambda s: s.push("9", x=1)])
def test_values_of_ranks_that_are_not_there_are_refused(formed, act):
    with pytest.raises(InputError, match="There is no rank 9"):
        act(formed)


@pytest.mark.parametrize(
    "act", [lambda s: s.pull("x"), lambda s: s.push(x=1), lambda s: s.stacks()]
)
def test_values_need_a_group(session, act):
    with pytest.raises(SessionError, match="There is no process group"):
        act(session)


# -- engines that end or do not answer -------------------------------------------------------


def test_states_stand_by_rank_then_spares(make):
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


def test_an_engine_that_does_not_answer_is_said_to(formed, pool):
    pool[1].answers = False
    states = formed.states()
    assert [s.state for s in states] == ["idle", "no answer", "idle", "idle"]
    assert states[1].info.rank == 1
    assert states[1].activity == ""


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize(
    ("status", "said"),
    [(-9, "was killed by SIGKILL"), (3, "ended with exit code 3"), (0, "ended with exit code 0")],
)
def test_an_engine_that_has_ended_is_said_to_and_how(formed, pool, status, said, registered):
    pool.kill(1, status, registered=registered)
    state = formed.states()[1]
    assert (state.state, state.info.rank, state.activity) == ("gone", 1, said)


def test_an_engine_that_left_a_joined_cluster_has_ended(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool.engines.remove(1)
    state = session.states()[1]
    assert (state.state, state.activity) == ("gone", "has ended")


def test_an_engine_that_ends_during_a_cell_fails_on_its_rank_only(formed, pool):
    thread, ended = run_stuck(formed, "1")
    pool.kill(1)
    end_of(thread)
    assert ended["result"][1].error.ename == "EngineError"
    assert ended["result"][1].error.evalue == "Engine 1 has ended."


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
def test_a_group_with_an_ended_rank_says_what_to_do(formed, pool, act):
    pool.kill(2)
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == (
        "Rank 2 was killed by SIGKILL: %dist_reset --hard replaces the engines."
    )


def test_several_ended_ranks_are_all_named(formed, pool):
    pool.kill(2)
    pool.kill(0, 1)
    with pytest.raises(SessionError, match="Rank 2 was killed by SIGKILL, rank 0 ended with exit"):
        formed.run("rank")


def test_the_ranks_that_live_still_run_cells(formed, pool):
    pool.kill(2)
    assert formed.run("rank", "0,1,3").ok


def test_interrupt_does_not_ask_the_dead(formed, pool):
    pool.kill(2)
    assert formed.interrupt() is False
    assert pool.asked("interrupt") == [0, 1, 3]


def test_stacks_of_those_that_live_are_still_told(formed, pool):
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


def test_a_hard_reset_of_joined_engines_is_refused_and_harms_nothing(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    with pytest.raises(RankbookError):
        session.reset(hard=True)
    assert session.world_size == 2
    assert session.run("rank").ok


def test_a_lost_controller_is_told_by_whatever_comes_next(formed, pool):
    pool.channel.lost.set()
    for act in (lambda: formed.run("rank"), formed.states, formed.interrupt, formed.reset):
        with pytest.raises(ClusterError, match="controller is gone"):
            act()
    assert formed.doing == ""


# -- leaving and shutting down ---------------------------------------------------------------


def test_destroy_leaves_no_group_and_keeps_the_engines(formed, pool):
    formed.run("x = 1")
    formed.destroy()
    assert formed.world_size == 0
    assert infos(pool) == [None] * 4
    formed.initialize()
    assert formed.pull("x", "0") == {0: 1}


def test_shutdown_stops_engines_that_were_started_here(formed, pool):
    directory = Path(formed._directory)
    assert directory.is_dir()
    formed.shutdown()
    assert pool.closed == 1
    assert formed.is_closed
    assert formed.world_size == 0
    assert repr(formed) == "<Session: shut down>"
    assert not directory.exists()


def test_shutdown_is_idempotent(formed, pool):
    for _ in range(3):
        formed.shutdown()
    assert pool.closed == 1


def test_shutdown_of_joined_engines_destroys_their_group_and_leaves_them(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.shutdown()
    assert session.pool.asked("destroy")[-2:] == [0, 1]
    assert [session.pool[n].info for n in range(2)] == [None, None]


def test_shutdown_works_though_the_controller_is_gone(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    session.pool.channel.lost.set()
    session.shutdown()
    assert session.is_closed
    assert session.pool.closed == 1


def test_shutdown_while_a_cell_runs_ends_it(formed, pool):
    thread, ended = run_stuck(formed)
    formed.shutdown()
    end_of(thread)
    assert formed.is_closed
    assert {ended["result"][r].error.ename for r in range(4)} == {"EngineError"}


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
    ],
)
def test_a_session_that_is_shut_down_says_so(formed, act):
    formed.shutdown()
    with pytest.raises(SessionError) as caught:
        act(formed)
    assert str(caught.value) == "This session is shut down: start another with %dist_init."


def test_the_snapshot_of_a_session_that_is_shut_down_is_empty(formed):
    formed.shutdown()
    snapshot = formed.snapshot()
    assert snapshot.states == ()
    assert snapshot.doing == "shut down"
    assert snapshot.world_size == 0


# -- whoever watches -------------------------------------------------------------------------


def test_the_snapshot_holds_what_a_view_shows(formed):
    snapshot = formed.snapshot()
    assert (snapshot.backend, snapshot.world_size, snapshot.generation) == ("gloo", 4, 1)
    assert snapshot.doing == ""
    assert snapshot.cluster == "fake-cluster"
    assert [s.info for s in snapshot.states] == [
        GroupInfo("gloo", r, 4, "cpu", r == 0, r, 1) for r in range(4)
    ]


def test_listeners_hear_of_every_change(formed, pool):
    heard = []
    formed.changes.listen(lambda: heard.append(formed.doing))
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


def test_a_listener_that_has_gone_hears_nothing(formed):
    heard = []
    stop = formed.changes.listen(lambda: heard.append(1))
    stop()
    stop()
    formed.run("rank")
    assert heard == []


def test_a_listener_may_go_while_it_is_told(formed):
    heard = []
    stops = []

    def once():
        heard.append(1)
        stops[0]()

    stops.append(formed.changes.listen(once))
    formed.changes.listen(lambda: heard.append(2))
    formed.run("rank")
    assert heard == [1, 2, 2]


def test_the_dashboard_is_made_once(pool):
    made = []
    session = Session(pool, lambda its: made.append(its) or object())
    assert session.dashboard() is session.dashboard()
    assert made == [session]
    session.shutdown()
