"""Finding a group that joined engines are in, and keeping it as it is."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FOR_GOOD, FakePool
from steps import end_of, folder_of, infos, run_stuck

import rankbook
from rankbook import api
from rankbook.cluster.pool import Pool
from rankbook.errors import BackendError, ClusterError, SessionError, StuckError
from rankbook.models import EngineFacts, GroupInfo, Look
from rankbook.sessions.members import Members
from rankbook.sessions.members import found as finding
from rankbook.sessions.session import Session


def info(rank, world_size=2, **facts):
    return GroupInfo("gloo", rank, world_size, "cpu", rank == 0, local_rank=rank, **facts)


def seen(*infos, busy=()):
    """What engines say, by engine; they are numbered from 10."""
    return {
        engine: Look("running" if engine in busy else "idle", engine=engine, info=its)
        for engine, its in enumerate(infos, 10)
    }


# -- what engines say ------------------------------------------------------------------------


def test_a_group_is_found_by_rank_with_spares_left_out():
    found = finding.find(seen(info(1), None, info(0)))
    assert found.engines == (12, 10)
    assert [its.rank for its in found.groups] == [0, 1]
    assert found.busy == ()


def test_busy_engines_of_a_found_group_are_given_by_rank():
    assert finding.find(seen(info(1), info(0), busy=[10])).busy == (1,)


def test_a_look_leaves_out_ended_engines_and_marks_silent_ones(cluster, timing):
    cluster.pool.kill(0, registered=True)
    cluster.pool[1].answers = False

    def fail(**_asked):
        raise SessionError("no.")

    cluster.pool[2].look = fail
    found = finding.look(Members(cluster.pool, timing))
    assert found == {1: None, 2: None}


@pytest.mark.parametrize(
    ("silent", "engines", "which"),
    [
        ([3], "Engine 3 does", "it where it was"),
        ([5, 3], "Engines 3,5 do", "them where they were"),
    ],
)
def test_a_silent_engine_is_refused_by_its_number(silent, engines, which):
    finding.refuse_silent(seen(info(0), None))
    with pytest.raises(ClusterError) as caught:
        finding.refuse_silent(seen(info(0)) | dict.fromkeys(silent))
    assert str(caught.value) == (
        f"{engines} not answer and may be at work: try again, or end {which} started."
    )


@pytest.mark.parametrize(
    "infos",
    [
        (),
        (None, None),
        (info(0),),
        (info(1), None),
        (info(0), info(0)),
        (info(0), info(1), info(1)),
        (info(0), info(2, 3)),
        (info(0, generation=1), info(1, generation=2)),
        (info(0, timeout_minutes=1), info(1, timeout_minutes=2)),
        (info(0, check=True), info(1, check=False)),
        (info(0), replace(info(1), backend="nccl")),
        (info(0), info(1), info(0, 1, generation=7)),
    ],
)
def test_no_group_is_found_when_ranks_are_missing_or_disagree(infos):
    assert finding.find(seen(*infos)) is None


@pytest.mark.parametrize(
    "infos",
    [
        (info(0), None),  # a spare, or a rank that lives and has left its group
        (info(0), info(0)),
        (info(0, 3), info(2, 3, generation=4)),
        (None, None),
        (),
    ],
)
def test_a_rank_is_not_taken_for_ended_where_engines_are_in_no_group_or_disagree(infos):
    assert finding.find_with_ended(seen(*infos)) is None


def test_a_group_whose_rest_stands_elsewhere_than_we_would_place_it_is_not_kept():
    found = finding.find_with_ended(seen(info(0, 3), replace(info(2, 3), local_rank=1)))
    assert found.living == (10, 11)
    assert finding.placement(found, facts(*found.living), [10, 11]) is None


def test_the_newest_group_is_the_one_with_the_highest_number():
    assert finding.newest(seen(info(0, generation=3), None, info(0, generation=9))) == 9
    assert finding.newest({}) == 0


def facts(*engines, host="a"):
    return {e: EngineFacts(e, host, (f"{host}-1",), e, ("GPU",)) for e in engines}


def test_the_placement_is_the_one_that_made_the_group():
    found = finding.find(seen(info(1), None, info(0)))
    placement = finding.placement(found, facts(10, 12), [12, 11, 10])
    assert placement.engines == (12, 10)
    assert placement.spare == (11,)
    assert [(p.local_rank, p.local_world_size, p.gpus) for p in placement.places] == [
        (0, 2, 1),
        (1, 2, 1),
    ]


def test_a_found_group_with_another_placement_than_ours_is_not_kept():
    found = finding.find(seen(info(0), info(1)))
    elsewhere = facts(10) | facts(11, host="b")
    assert finding.placement(found, elsewhere, [10, 11]) is None


# -- sessions --------------------------------------------------------------------------------


@pytest.fixture
def cluster(timing):
    """Three engines, and sessions that join them; a session that is dropped is a dead kernel's."""
    pool = FakePool(3, owned=False)
    made = []

    def join():
        made.append(Session(pool, timing))
        return made[-1]

    join.pool = pool
    yield join
    for session in made:
        session.shutdown()


@pytest.fixture
def silent(cluster, monkeypatch):
    """Has engines not answer until the test ends."""

    def fall_silent(*engines):
        for engine in engines:
            cluster.pool[engine].answers = False

    yield fall_silent
    for engine in cluster.pool.all.values():
        engine.answers = True


@pytest.fixture
def dead(cluster):
    """A session of which nothing is left but its group: three ranks, the second generation."""
    session = cluster()
    session.initialize("gloo", timeout_minutes=7, check=True)
    session.reset()
    return session


def test_adopt_takes_over_a_group_without_touching_its_engines(dead, cluster):
    before = [len(engine.asked) for engine in cluster.pool.all.values()]
    session = cluster()
    assert session.adopt()
    assert (session.generation, session.world_size, session.backend) == (2, 3, "gloo")
    assert session.timeout_minutes == 7
    assert session.groups == dead.groups
    assert session.doing == ""
    asked = [e.asked[n:] for e, n in zip(cluster.pool.all.values(), before, strict=True)]
    assert asked == [["look", "facts"]] * 3
    assert session.run("rank")[2].result_repr == "2"


def test_the_group_after_an_adopted_one_keeps_its_terms_and_is_numbered_after_it(dead, cluster):
    session = cluster()
    session.adopt()
    session.reset()
    assert session.generation == 3
    [*_, asked] = cluster.pool.requested("initialize")
    terms = {
        (a["backend"], a["timeout_minutes"], a["check"], a["generation"]) for a in asked.values()
    }
    assert terms == {("gloo", 7, True, 3)}
    directories = {
        Path(its[0]["url"].removeprefix("file://")).parent
        for its in cluster.pool.requested("initialize")
    }
    assert len(directories) == 2


def test_adopt_keeps_spare_engines_spare(cluster):
    cluster().initialize("gloo", 2)
    session = cluster()
    assert session.adopt()
    assert [state.info and state.info.rank for state in session.states()] == [0, 1, None]
    session.initialize(nproc=3)
    assert session.generation == 2
    assert [its.rank for its in infos(cluster.pool)] == [0, 1, 2]


def test_adopt_returns_false_without_a_group(cluster):
    session = cluster()
    assert not session.adopt()
    assert session.generation == 0
    session.initialize("gloo")
    assert session.generation == 1


def test_a_new_group_is_numbered_after_one_that_lost_a_rank(dead, cluster):
    cluster.pool.kill(1)
    session = cluster()
    assert not session.adopt()
    session.initialize()
    assert (session.generation, session.world_size) == (3, 2)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_group_that_lost_a_rank_is_adopted_on_request_and_the_rank_is_replaced(
    dead, cluster, rank
):
    cluster.pool.launcher.can_add = True  # as the keeper of a kept cluster
    cluster.pool.kill(rank)
    cluster.pool.ended[rank] = -9  # as that says, too
    session = cluster()
    assert session.adopt(with_ended=True)
    assert (session.generation, session.world_size) == (2, 3)
    assert session.dead_ranks == {rank: "was killed by SIGKILL"}
    assert [look.state for look in session.states()][rank] == "gone"
    session.restart_ranks()
    assert (session.generation, session.world_size, session.dead_ranks) == (3, 3, {})


def test_a_smaller_group_leaves_no_engine_in_the_former_one(dead, cluster):
    session = cluster()
    session.initialize("gloo", 1)
    assert session.generation == 3
    assert [its is not None for its in infos(cluster.pool)] == [True, False, False]


@pytest.mark.parametrize("take", [lambda s: s.adopt(), lambda s: s.initialize("gloo")])
def test_a_joining_session_touches_nothing_while_a_rank_is_silent(dead, cluster, silent, take):
    """It may be at work for another notebook."""
    session = cluster()
    silent(1)
    with pytest.raises(ClusterError, match=r"^Engine 1 does not answer and may be at work: try"):
        take(session)
    assert cluster.pool.asked("free") == []
    assert cluster.pool.asked("destroy") == []
    cluster.pool[1].answers = True
    assert session.adopt()
    assert session.generation == 2


def test_a_group_is_adopted_beside_a_silent_spare_engine(cluster, silent):
    cluster().initialize("gloo", 2)
    silent(2)
    session = cluster()
    assert session.adopt()
    with pytest.raises(ClusterError, match=r"^Engine 2 does not answer"):
        cluster().initialize("gloo", 2)
    assert session.groups[1].generation == 1


def test_adopt_does_not_wait_for_an_engine_that_has_ended(dead, cluster):
    """Though the controller has not noticed."""
    cluster.pool.kill(1, registered=True)
    assert not cluster().adopt()


def test_generations_of_two_sessions_on_the_same_engines_only_rise(cluster):
    first = cluster()
    first.initialize("gloo")
    second = cluster()
    second.adopt()
    second.reset()
    second.reset()
    first.reset()
    assert (first.generation, second.generation) == (4, 3)


# -- engines that are busy -------------------------------------------------------------------


@pytest.fixture
def stuck(dead, cluster):
    """Ranks 0 and 1 wait in a cell of the dead kernel's."""
    thread, _ = run_stuck(dead, "0,1", "wait_in('all_reduce', seq=1)", on_hang="wait")
    yield dead
    for engine in cluster.pool.all.values():
        engine.ignores = 0
    with suppress(SessionError):  # the session that joined may have closed their channel
        dead.interrupt()
    end_of(thread)


def test_adopt_takes_over_a_group_while_it_hangs(stuck, cluster):
    session = cluster()
    assert session.adopt()
    assert [state.state for state in session.states()] == ["waiting", "waiting", "idle"]
    diagnosis = session.diagnose()
    assert (diagnosis.kind, diagnosis.ranks) == ("missing_rank", (2,))
    assert session.interrupt()
    assert session.generation == 3
    assert session.run("rank")[0].ok


def test_a_reset_ends_the_cell_that_a_dead_kernel_left(stuck, cluster):
    session = cluster()
    session.adopt()
    session.reset()
    assert session.generation == 3
    assert cluster.pool[0].freed


def test_a_reset_names_the_rank_that_does_not_let_go(stuck, cluster):
    cluster.pool[1].ignores = FOR_GOOD
    session = cluster()
    session.adopt()
    with pytest.raises(StuckError, match="rank 1 is at cell 1 line 1: wait_in"):
        session.reset()


def test_a_shutdown_destroys_an_adopted_group_that_hangs(stuck, cluster):
    session = cluster()
    session.adopt()
    session.shutdown()
    assert infos(cluster.pool) == []
    assert [engine.info for engine in cluster.pool.all.values()] == [None] * 3


def test_another_group_is_refused_while_ranks_are_busy(stuck, cluster):
    with pytest.raises(SessionError) as caught:
        cluster().initialize("gloo")
    assert str(caught.value) == (
        "Ranks 0-1 of the group that these engines are in are busy: join with --cluster-id alone "
        "to take the group over as it is; %dist_interrupt then ends what runs."
    )
    assert not cluster.pool[0].freed


def test_initialize_ends_the_remains_of_a_group_that_lost_a_rank(stuck, cluster):
    cluster.pool.kill(2)
    session = cluster()
    assert not session.adopt()
    session.initialize("gloo")
    assert (session.generation, session.world_size) == (3, 2)


# -- how it ends -----------------------------------------------------------------------------


def test_a_detached_session_leaves_the_group_and_its_file(cluster):
    session = cluster()
    session.initialize("gloo")
    folder = folder_of(cluster.pool)
    [file, old] = [folder / "store-1", folder / "store-0"]
    file.touch()
    old.touch()
    session.detach()
    assert session.is_closed
    assert cluster.pool.asked("destroy") == []
    assert list(folder.iterdir()) == [file]
    session.shutdown()
    assert cluster.pool.asked("destroy") == []
    file.unlink()
    folder.rmdir()


def test_a_detached_session_without_a_group_leaves_no_files(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    session = cluster()
    assert list(tmp_path.iterdir())
    session.detach()
    assert list(tmp_path.iterdir()) == []


def test_a_detached_session_stops_the_engines_that_it_started(session, pool):
    session.initialize("gloo")
    session.detach()
    assert pool.closed == 1
    assert not folder_of(pool).exists()


def test_a_folder_that_another_session_removed_is_made_again(cluster):
    session = cluster()
    session.initialize("gloo")
    folder = folder_of(cluster.pool)
    folder.rmdir()
    session.reset()
    assert folder_of(cluster.pool).is_dir()


# -- connect ---------------------------------------------------------------------------------


@pytest.fixture
def joined(dead, cluster, monkeypatch):
    """``connect`` finds these engines."""
    monkeypatch.setattr(Pool, "join", lambda **_: cluster.pool)
    monkeypatch.setattr(api.current, "session", None)
    atexit = []
    monkeypatch.setattr(api.atexit, "register", atexit.append)
    yield atexit
    if (session := rankbook.session()) is not None:
        session.shutdown()


def test_connect_keeps_the_group_and_leaves_it_at_exit(joined, cluster):
    session = rankbook.connect(cluster_id="lab")
    assert session.generation == 2
    [at_exit] = joined
    at_exit()
    assert session.is_closed
    assert cluster.pool.asked("destroy") == []


@pytest.mark.parametrize(
    "asked", [{"backend": "gloo"}, {"nproc": 3}, {"timeout_minutes": 1}, {"check": False}]
)
def test_connect_makes_a_new_group_if_any_of_its_terms_is_given(joined, asked):
    assert rankbook.connect(cluster_id="lab", **asked).generation == 3


@pytest.mark.parametrize(
    ("asked", "error"), [({"backend": "nosuch"}, BackendError), ({"nproc": 9}, ClusterError)]
)
def test_a_refused_connect_leaves_the_group_as_it_is(joined, cluster, asked, error):
    with pytest.raises(error):
        rankbook.connect(cluster_id="lab", **asked)
    assert rankbook.session() is None
    assert all(engine.info.generation == 2 for engine in cluster.pool.all.values())
