"""The process group of a session: generations, other world sizes, failures that leave nothing."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from processes import child_that_runs, wait_until

import rankbook
from rankbook.errors import (
    BackendError,
    ClusterError,
    DeviceError,
    InputError,
    RankbookError,
    SessionError,
)

SUM = "x = torch.ones(1)\ndist.all_reduce(x)\nx.item()"


@pytest.fixture(scope="module")
def last():
    """The session of the last test, as the only one of a list."""
    sessions = []
    yield sessions
    for session in sessions:
        session.shutdown()


@pytest.fixture
def session(last):
    """A session of two ranks that a test may spoil: the next one starts another then."""
    if not (last and is_whole(last[0])):
        for session in last:
            session.shutdown()
        last[:] = [rankbook.start("gloo", 2)]
    return last[0]


def is_whole(session):
    """Whether a session has two ranks, and engines, that work."""
    if rankbook.session() is not session or session.dead_ranks:
        return False
    try:
        return len(session.states()) == 2 and values(session.run(SUM)) == ["2.0", "2.0"]
    except RankbookError:
        return False


def values(result):
    return [result[rank].result_repr for rank in result]


def test_infos_describe_the_real_ranks(session):
    import torch

    infos = session.infos
    assert [infos[rank] for rank in (0, 1)] == [
        rankbook.DistInfo("gloo", 0, 2, torch.device("cpu"), is_main=True),
        rankbook.DistInfo("gloo", 1, 2, torch.device("cpu"), is_main=False),
    ]
    assert (session.backend, session.world_size, session.generation) == ("gloo", 2, 1)
    assert rankbook.session() is session


def test_every_reset_is_a_new_generation_and_variables_stay(session):
    session.run("import torch.nn as nn\nmodel = nn.Linear(2, 2)\nkept = id(model)")
    pids = [state.pid for state in session.states()]
    for generation in range(2, 8):
        session.reset()
        assert session.generation == generation
        assert values(session.run(SUM)) == ["2.0", "2.0"]
    assert values(session.run("id(model) == kept")) == ["True", "True"]
    assert [state.pid for state in session.states()] == pids


def test_ranks_may_arrive_seconds_apart(session):
    code = "import time, os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(1))"
    session.run(code)
    os.kill(session.states()[1].pid, signal.SIGUSR1)
    session.reset()
    assert values(session.run(SUM)) == ["2.0", "2.0"]


def test_another_world_size_keeps_engines_and_variables(session):
    session.run("mine = 10 + rank")
    session.initialize(nproc=4)
    assert session.lacking.startswith("Ranks 2-3 lack what the others hold: ")
    assert session.lacking.endswith("mine. %dist_restart 2,3 --from 0 copies it from rank 0.")
    assert values(session.run(SUM)) == ["4.0"] * 4
    assert values(session.run("globals().get('mine')")) == ["10", "11", None, None]
    session.initialize(nproc=1)
    assert (session.world_size, values(session.run(SUM))) == (1, ["1.0"])
    assert [state.info is None for state in session.states()] == [False, True, True, True]
    session.initialize(nproc=2)
    assert session.lacking == ""
    assert values(session.run("mine")) == ["10", "11"]


def test_a_destroyed_group_can_be_initialised_again(session):
    session.destroy()
    assert (session.world_size, session.backend, session.infos) == (0, "", {})
    with pytest.raises(SessionError, match="no process group"):
        session.run("1")
    session.initialize()
    assert values(session.run(SUM)) == ["2.0", "2.0"]


def test_a_hard_reset_replaces_the_engines(session):
    session.run("gone = 1")
    before = {state.pid for state in session.states()}
    session.reset(hard=True)
    assert before.isdisjoint(state.pid for state in session.states())
    assert values(session.run("'gone' in globals()")) == ["False", "False"]
    assert values(session.run(SUM)) == ["2.0", "2.0"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"backend": "foo"}, BackendError, "no backend 'foo': use one of"),
        ({"backend": "nccl"}, DeviceError, "nccl needs GPUs .* run %dist_init gloo"),
        ({"nproc": 0}, InputError, "A group needs at least 1 rank, not 0"),
        ({"timeout_minutes": -1}, InputError, "must be positive, for example 1, and not -1"),
    ],
)
def test_invalid_arguments_are_refused_and_the_group_stays(session, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        session.initialize(**arguments)
    assert "\n" not in str(caught.value)
    assert values(session.run(SUM)) == ["2.0", "2.0"]


def test_an_initialisation_that_fails_on_one_rank_leaves_no_half_made_group(session):
    session.run("import os\nos.environ['GLOO_SOCKET_IFNAME'] = 'nosuch0'", 1)
    begin = time.monotonic()
    with pytest.raises(RankbookError) as caught:
        session.initialize(timeout_minutes=0.1)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begin < 15
    assert (session.world_size, session.infos) == (0, {})
    wait_until(lambda: [(s.state, s.info) for s in session.states()] == [("idle", None)] * 2)
    # The variable is the user's own; what rankbook sets is taken back, what they set stays.
    session.initialize(nproc=1)
    session.run("1")
    session.reset(hard=True)
    session.initialize(timeout_minutes=1, nproc=2)
    assert values(session.run(SUM)) == ["2.0", "2.0"]


def test_a_dead_engine_is_named_and_replaced_by_a_hard_reset(session):
    session.run("kept = 1")
    os.kill(session.states()[1].pid, signal.SIGKILL)
    result = session.run("1")
    assert result[0].ok
    assert result[1].error.evalue == "rank 1 was killed by SIGKILL"
    with pytest.raises(SessionError, match=r"Rank 1 was killed by SIGKILL: .*restart_ranks"):
        session.run("1")
    assert [state.state for state in session.states()] == ["idle", "gone"]
    assert values(session.run("kept", 0)) == ["1"]
    session.reset(hard=True)
    assert values(session.run(SUM)) == ["2.0", "2.0"]


def test_a_cell_ends_when_its_engine_dies(session):
    begin = time.monotonic()
    result = session.run("import os\nif rank == 1: os._exit(7)")
    assert time.monotonic() - begin < 5
    assert result[0].ok
    assert not result[1].ok
    assert session.states()[1].ended == "ended with exit code 7"


def test_a_rank_freed_from_waiting_for_a_dead_one_shows_no_error(session):
    result = session.run("import os\nif rank == 1: os._exit(7)\ndist.barrier()")
    assert session.snapshot().verdict == result.diagnosis
    assert result.diagnosis.kind == "dead"
    assert session.states()[0].last_error == ""


def test_last_error_is_that_of_the_last_cell_and_the_present_group(session):
    session.run("1 / 0")
    assert [s.last_error for s in session.states()] == ["ZeroDivisionError: division by zero"] * 2
    cell = session.in_background(lambda: session.run("import time\nif rank: time.sleep(60)"))
    wait_until(lambda: session.states()[1].state == "running")
    assert session.states()[1].last_error == ""
    session.interrupt()
    cell.join(10)
    session.run("1 / 0")
    session.reset()
    assert [state.last_error for state in session.states()] == ["", ""]


def test_a_lost_controller_is_reported_at_once(session):
    controller = child_that_runs("rankbook.cluster.processes.controller")

    def cell():
        with pytest.raises(ClusterError, match="controller is gone"):
            session.run("import time\ntime.sleep(60)")
        ends.append(time.monotonic())

    ends = []
    thread = session.in_background(cell)
    controller.kill()
    begin = time.monotonic()
    thread.join(10)
    assert ends[0] - begin < 2
    with pytest.raises(ClusterError, match=r"controller is gone.*%dist_init"):
        session.run("1")


def test_a_hard_reset_ends_a_cell_that_hangs(session):
    results = []
    thread = session.in_background(
        lambda: results.append(session.run("if rank == 0: dist.barrier()", on_hang="wait"))
    )
    wait_until(lambda: [s.state for s in session.states()] == ["waiting", "idle"])
    with pytest.raises(SessionError, match="running a cell on ranks 0-1: wait"):
        session.reset()
    session.reset(hard=True)
    thread.join(10)
    assert not results[0][0].ok
    assert values(session.run(SUM)) == ["2.0", "2.0"]


def test_a_second_shutdown_does_nothing(session):
    session.shutdown()
    session.shutdown()
    assert rankbook.session() is None
    with pytest.raises(SessionError, match="shut down: start another"):
        session.run("1")


def test_shutting_down_while_a_cell_runs_ends_the_cell(session):
    def cell():
        with pytest.raises(SessionError, match="shut down meanwhile"):
            session.run("import time\ntime.sleep(60)")
        ends.append(time.monotonic())

    ends = []
    thread = session.in_background(cell)
    begin = time.monotonic()
    session.shutdown()
    thread.join(10)
    assert ends[0] - begin < 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("nccl",), DeviceError), (("foo",), BackendError), (("gloo", 0), InputError)],
)
def test_an_impossible_start_is_refused_before_any_process_is_started(last, arguments, error):
    for session in last:
        session.shutdown()
    before = len(psutil.Process().children(recursive=True))
    with pytest.raises(error):
        rankbook.start(*arguments)
    assert len(psutil.Process().children(recursive=True)) == before


def test_a_second_session_is_refused(session):
    with pytest.raises(SessionError, match="There is a session already"):
        rankbook.start("gloo", 2)


def test_models_train_with_ddp_and_fsdp(session):
    ddp = """
from torch.nn.parallel import DistributedDataParallel
torch.manual_seed(rank)
net = torch.nn.Linear(4, 1)
model = DistributedDataParallel(net)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
weights = [torch.empty(1, 4) for _ in range(world_size)]
dist.all_gather(weights, net.weight.detach())
torch.equal(*weights)
"""
    assert values(session.run(ddp)) == ["True", "True"]
    fsdp = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
fully_shard(net, mesh=init_device_mesh("cpu", (world_size,)))
net(torch.randn(2, 4)).sum().backward()
tuple(net[0].weight.to_local().shape)
"""
    assert values(session.run(fsdp)) == ["(2, 4)", "(2, 4)"]
