"""How a session forms its groups, and what is left where it cannot."""

from __future__ import annotations

import re

import pytest
from processes import wait_until
from steps import SOON, end_of, infos

from rankbook.cluster.transport.channel import op_of
from rankbook.errors import (
    BackendError,
    ClusterError,
    DeviceError,
    EngineError,
    InputError,
    RendezvousError,
    SessionError,
)
from rankbook.sessions.group import forming

# -- forming a group -------------------------------------------------------------------------


def test_a_new_session_has_no_group(session):
    assert session.world_size == 0
    assert session.backend == ""
    assert session.generation == 0
    assert session.infos == {}
    assert not session.is_closed
    assert repr(session) == "<Session: no group, generation 0>"


def test_initialize_takes_every_engine_by_default(session, pool):
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


def test_groups_returns_a_copy(formed):
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


def test_initialize_tells_every_engine_its_place(session, pool):
    session.initialize("gloo", 2, 5)
    [args] = pool.requested("initialize")
    store = args[0].pop("url"), args[1].pop("url")
    assert store[0] == store[1]
    assert store[0].startswith("file:///")
    assert store[0].endswith("/store-1")
    common = {
        "backend": "gloo",
        "timeout_minutes": 5,
        "check": False,
        "clean": False,
        "share_gpus": False,
        "generation": 1,
        "world_size": 2,
        "local_world_size": 2,
        "address": "127.0.0.1",
        "whole": 0,
    }
    assert args == {r: common | {"rank": r, "local_rank": r} for r in range(2)}


def test_engines_are_told_which_group_all_of_them_have_joined_last(formed, pool):
    pool[2].refuses = EngineError("no memory.")
    with pytest.raises(EngineError, match="no memory"):
        formed.reset()
    pool[2].refuses = None
    formed.reset()
    formed.reset()
    told = [{args["whole"] for args in asked.values()} for asked in pool.requested("initialize")]
    assert told == [{0}, {1}, {1}, {3}]


def test_check_is_kept_until_it_is_changed(session, pool):
    session.initialize("gloo", check=True)
    session.reset()
    session.initialize(check=False)
    session.initialize(nproc=2)
    told = [{args["check"] for args in asked.values()} for asked in pool.requested("initialize")]
    assert told == [{True}, {True}, {False}, {False}]


def test_ranks_share_gpus_until_that_is_changed(start):
    pool, group = start(2, gpus=1)
    for share_gpus in (True, None, False, None):
        group.initialize(share_gpus=share_gpus)
    asked = [
        {args["share_gpus"] for args in each.values()} for each in pool.requested("initialize")
    ]
    assert asked == [{False}, {True}, {True}, {False}, {False}]


def test_an_nccl_that_cannot_share_gpus_is_refused_and_the_group_stays(start):
    pool, group = start(2, gpus=1)
    with pytest.raises(DeviceError, match="add --share-gpus"):
        group.initialize("nccl")
    with pytest.raises(DeviceError, match="Several ranks on one GPU need NCCL"):
        group.initialize("nccl", share_gpus=True)
    assert len(pool.requested("initialize")) == 1
    assert {info.backend for info in group.infos.values()} == {"gloo"}
    assert not group.share_gpus


def test_every_generation_on_one_host_meets_in_a_file_of_its_own(formed, pool):
    formed.reset()
    first, second = pool.requested("initialize")
    assert first[0]["url"] != second[0]["url"]


def test_ranks_on_several_hosts_meet_at_the_first_address_that_all_reach(make):
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


def test_a_smaller_group_leaves_spare_engines(formed, pool):
    formed.initialize(nproc=2)
    assert formed.world_size == 2
    assert [info is not None for info in infos(pool)] == [True, True, False, False]
    assert formed.members.placed().spare == (2, 3)


def test_spare_engines_keep_their_variables_and_come_back(formed, pool):
    formed.run("x = rank")
    formed.initialize(nproc=1)
    formed.initialize(nproc=4)
    assert formed.pull("x") == {0: 0, 1: 1, 2: 2, 3: 3}
    assert pool.grown == []


def test_a_larger_group_starts_the_missing_engines(formed, pool):
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


def test_too_many_ranks_are_refused_where_no_engine_can_be_started(make):
    session = make(2, owned=False)
    session.initialize("gloo")
    with pytest.raises(ClusterError, match="rankbook cannot add"):
        session.initialize(nproc=3)
    assert session.world_size == 2
    assert session.generation == 1
    assert session.run("rank").ok


@pytest.mark.parametrize(
    ("args", "error", "said"),
    [
        (("ncll",), BackendError, "There is no backend 'ncll'"),
        (("nccl",), DeviceError, "nccl needs GPUs"),
        (("gloo", 0), InputError, "A group needs at least 1 rank, not 0"),
        (("gloo", -1), InputError, "A group needs at least 1 rank, not -1"),
        (("gloo", 2, 0), InputError, "must be positive, for example 1, and not 0"),
        (("gloo", 2, -1.5), InputError, "must be positive, for example 1, and not -1.5"),
    ],
)
def test_invalid_arguments_of_initialize_are_refused_before_anything_changes(
    formed, pool, args, error, said
):
    before = formed.generation, formed.groups, formed.timeout_minutes, infos(pool)
    with pytest.raises(error, match=said):
        formed.initialize(*args)
    assert (formed.generation, formed.groups, formed.timeout_minutes, infos(pool)) == before
    assert formed.doing == ""
    assert formed.run("rank").ok


@pytest.mark.parametrize("args", [("ncll", 6, 9), ("nccl", 2, 9)])
def test_a_refused_initialisation_leaves_the_timeout_as_it_was(formed, args):
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


def test_an_engine_that_refuses_to_initialise_leaves_no_group(formed, pool):
    pool[2].refuses = BackendError("torch was built without it.")
    with pytest.raises(BackendError, match="torch was built without it"):
        formed.reset()
    assert formed.world_size == 0
    assert formed.backend == ""
    assert infos(pool) == [None] * 4
    assert all(engine.stuck is None for engine in pool.all.values())


def test_an_engine_that_does_not_join_the_group_is_named_by_its_rank(formed, pool):
    pool[3].answers = False
    with pytest.raises(RendezvousError) as caught:
        formed.initialize(timeout_minutes=0.0005)
    assert re.match(r"Ranks? ([\d,-]*[,-])?3 of 4 did not form the group", str(caught.value))
    assert formed.world_size == 0
    assert infos(pool)[:3] == [None] * 3


def test_a_session_is_ready_again_after_a_failed_initialisation(formed, pool):
    pool[2].refuses = BackendError("not now.")
    with pytest.raises(BackendError):
        formed.reset()
    with pytest.raises(SessionError, match="There is no process group"):
        formed.run("rank")
    pool[2].refuses = None
    formed.initialize()
    assert formed.world_size == 4
    assert formed.generation == 3


def test_an_engine_that_ends_while_the_group_forms_leaves_no_group(session, pool, monkeypatch):
    ask = pool.channel.request

    def request(requests, buffers=()):
        if op_of(requests) != "initialize":
            return ask(requests, buffers)
        pool[1].answers = False
        call = ask(requests, buffers)
        pool.kill(1)
        return call

    monkeypatch.setattr(pool.channel, "request", request)
    told = "Rank 1 was killed by SIGKILL: %dist_restart 1"
    with pytest.raises(SessionError, match=told):
        session.initialize("gloo")
    assert session.world_size == 0
    assert infos(pool) == [None] * 3
    with pytest.raises(SessionError, match=told):
        session.run("rank")
    monkeypatch.undo()
    session.restart_ranks()
    assert session.world_size == 4


def test_ctrl_c_while_the_group_forms_leaves_no_group(session, pool, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    pool[1].refuses = EngineError("never asked")
    monkeypatch.setattr(forming, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.initialize("gloo")
    assert infos(pool) == [None] * 4
    assert session.doing == ""


def test_an_initialisation_interrupted_from_another_thread_leaves_no_group(formed, pool):
    pool[3].answers = False
    ended = []

    def initialise():
        with pytest.raises(SessionError) as caught:
            formed.initialize()
        ended.append(str(caught.value))

    thread = formed.in_background(initialise)
    wait_until(lambda: all(pool[number].stuck for number in range(3)), SOON)
    pool[3].answers = True
    pool[3].hang(pool[3].unanswered[-1], "initialize")  # it has heard of it at last
    assert formed.interrupt() is True
    end_of(thread)
    assert ended == ["The initialisation was interrupted: %dist_init does it again."]
    assert formed.world_size == 0
    assert infos(pool) == [None] * 4
    formed.initialize()
    assert formed.world_size == 4


def test_forming_a_group_leaves_no_call_waiting(formed, pool):
    pool[0].refuses = EngineError("no.")
    with pytest.raises(EngineError):
        formed.reset()
    pool[0].refuses = None
    formed.reset()
    formed.run("rank")
    formed.states()
    assert pool.awaited == set()
