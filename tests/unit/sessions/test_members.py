"""Which engine is which rank, from one process group to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakePool
from steps import infos

from rankbook.errors import ClusterError, EngineError, InputError, SessionError
from rankbook.sessions.group.group import Group
from rankbook.sessions.members import Members


@pytest.fixture
def four(start):
    return start(4)


def drawn(group):
    """By rank: engine, host, local rank."""
    return [(p.engine, p.host, p.local_rank) for p in group.members.placed().places]


# -- living and dead engines -----------------------------------------------------------------


def test_a_group_that_was_never_initialised_has_no_ranks(timing):
    group = Group(Members(FakePool(2), timing))
    assert group.number == 0
    assert group.infos == {}
    assert group.members.dead == {}
    assert group.members.alive == [0, 1]
    group.members.refuse_dead()
    with pytest.raises(SessionError, match="There is no process group: make one with %dist_init"):
        group.members.placed()
    with pytest.raises(SessionError, match="There is no process group"):
        group.restart([0])
    group.close()


@pytest.mark.parametrize("registered", [True, False])
def test_an_ended_engine_is_not_alive_even_if_the_hub_lists_it(four, registered):
    pool, group = four
    pool.kill(1, 3, registered=registered)
    assert group.members.alive == [0, 2, 3]
    assert group.members.dead == {1: 3}


def test_dead_ranks_are_keyed_by_rank_and_not_by_engine(start):
    pool, group = start(4, hosts="ab")
    pool.kill(2)
    assert group.members.dead == {1: -9}


def test_an_ended_spare_engine_is_no_dead_rank(start):
    pool, group = start(4, nproc=2)
    pool.kill(3)
    assert group.members.dead == {}
    group.members.refuse_dead()


# -- refusing --------------------------------------------------------------------------------


def test_a_dead_rank_refuses_what_needs_every_rank(four):
    pool, group = four
    pool.kill(2)
    for act in (group.members.refuse_dead, group.initialize):
        with pytest.raises(SessionError) as caught:
            act()
        assert str(caught.value) == (
            "Rank 2 was killed by SIGKILL: %dist_restart 2 (or restart_ranks([2])) replaces it and "
            "keeps the others."
        )


def test_a_smaller_group_goes_on_without_a_rank_that_has_ended(four):
    pool, group = four
    pool.kill(1, 3)
    group.initialize(size=3)
    assert group.members.placed().engines == (0, 2, 3)
    assert group.members.dead == {}


def test_a_group_of_more_ranks_than_live_names_the_dead_one(four):
    pool, group = four
    pool.kill(1, 3)
    with pytest.raises(SessionError, match="Rank 1 ended with exit code 3"):
        group.initialize(size=4)


@pytest.mark.parametrize(("ranks", "refused"), [([0, 1], False), ([1, 2], True), ([], False)])
def test_a_dead_rank_refuses_only_selections_that_contain_it(four, ranks, refused):
    pool, group = four
    pool.kill(2)
    if refused:
        with pytest.raises(SessionError, match="Rank 2 was killed"):
            group.members.refuse_dead(ranks)
    else:
        group.members.refuse_dead(ranks)


def test_a_refusal_names_every_dead_rank(four):
    pool, group = four
    pool.kill(2, 1)
    pool.kill(0)
    with pytest.raises(SessionError) as caught:
        group.members.refuse_dead([2])
    assert str(caught.value) == (
        "Rank 0 was killed by SIGKILL, rank 2 ended with exit code 1: "
        "%dist_restart 0,2 (or restart_ranks([0, 2])) replaces them and keeps the others."
    )


# -- making groups ---------------------------------------------------------------------------


def test_engines_keep_their_rank_from_one_group_to_the_next(start):
    """After a restart rank 1 is engine 4; the next group must not put it last."""
    _, group = start(4)
    group.restart([1])
    group.initialize()
    assert group.members.placed().engines == (0, 4, 2, 3)
    group.initialize(size=2)
    assert group.members.placed().engines == (0, 4)
    group.initialize(size=4)
    assert group.members.placed().engines[:2] == (0, 4)


def test_missing_engines_are_counted_by_their_ids(four):
    """The hub may still count an ended engine, whose id is never used again."""
    pool, group = four
    group.initialize(size=2)
    pool.kill(3, registered=True)
    group.initialize(size=4)
    assert pool.grown == [1]
    assert group.members.placed().engines == (0, 1, 2, 4)
    assert [info.rank for info in infos(pool) if info] == [0, 1, 2, 3]


def test_engines_that_become_spare_leave_the_group(four):
    pool, group = four
    group.initialize(size=2)
    assert pool.requested("destroy") == [{2: {}, 3: {}}]
    assert infos(pool)[2:] == [None, None]


def test_a_smaller_group_forms_though_a_spare_engine_does_not_leave(four):
    pool, group = four
    pool[3].answers = False
    group.initialize(size=3)
    assert len(group.infos) == 3


def test_leaving_a_group_asks_only_living_engines(four):
    pool, group = four
    pool.kill(1)
    group.leave()
    assert group.infos == {}
    assert pool.requested("destroy") == [{0: {}, 2: {}, 3: {}}]


def test_replaced_engines_are_asked_for_their_facts_again(four):
    pool, group = four
    group.forget()
    group.members.replace_all()
    assert group.members.placement is None
    assert group.members.ended == {}
    pool[4].facts = replace(pool[4].facts, host="elsewhere")
    group.initialize()
    assert drawn(group)[0] == (4, "elsewhere", 0)


def test_closing_a_group_removes_its_files(four):
    pool, group = four
    url = pool.requested("initialize")[0][0]["url"]
    folder = Path(url.removeprefix("file://")).parent
    assert folder.is_dir()
    group.close()
    assert not folder.exists()
    assert group.infos == {}


# -- replacing ranks -------------------------------------------------------------------------


def test_a_dead_rank_gets_a_new_engine_and_the_others_keep_theirs(four):
    pool, group = four
    pool[3].names["x"] = "kept"
    pool.kill(1)
    group.restart([1])
    assert drawn(group) == [(0, "a", 0), (4, "a", 1), (2, "a", 2), (3, "a", 3)]
    assert pool.asked("destroy") == []
    assert pool[3].names["x"] == "kept"
    assert group.number == 2
    assert [group.infos[r].generation for r in range(4)] == [2] * 4
    assert group.members.dead == {}
    assert [info.rank for info in infos(pool)] == [0, 2, 3, 1]


def test_a_replaced_rank_is_initialised_with_the_same_place(four):
    pool, group = four
    group.restart([2])
    first, second = pool.requested("initialize")
    assert set(second) == {0, 1, 3, 4}
    for engine in range(4):
        new = {"url": second[0]["url"], "generation": 2, "whole": 1}
        assert second[4 if engine == 2 else engine] == first[engine] | new


def test_a_living_rank_is_ended_before_it_is_replaced(four):
    pool, group = four
    group.restart([0, 3])
    assert group.members.ended == {0: -9, 3: -9}
    assert pool.engines == [1, 2, 4, 5]
    assert group.members.placed().engines == (4, 1, 2, 5)


def test_engines_that_have_ended_are_not_ended_again(four, monkeypatch):
    pool, group = four
    pool.kill(1, registered=True)
    ended = []
    monkeypatch.setattr(pool, "end", ended.append)
    group.restart([1])
    assert ended == []


def test_a_spare_engine_replaces_a_rank_before_one_is_started(start):
    pool, group = start(4, nproc=3)
    group.restart([1])
    assert pool.grown == []
    assert group.members.placed().engines == (0, 3, 2)
    assert group.members.placed().spare == ()
    group.restart([1])
    assert pool.grown == [1]
    assert group.members.placed().engines == (0, 4, 2)


def test_a_restart_takes_one_spare_engine_for_each_rank(start):
    _, group = start(5, nproc=2)
    group.restart([0])
    assert group.members.placed().engines == (2, 1)
    assert group.members.placed().spare == (3, 4)


def test_a_rank_is_replaced_on_its_own_host(start):
    _, group = start(6, hosts="ab", nproc=4)
    assert drawn(group) == [(0, "a", 0), (2, "a", 1), (4, "a", 2), (1, "b", 0)]
    group.restart([3])
    assert drawn(group) == [(0, "a", 0), (2, "a", 1), (4, "a", 2), (3, "b", 0)]


def test_a_restart_without_an_engine_on_the_host_names_rank_and_host(start):
    pool, group = start(5, hosts="ab", nproc=4)
    pool.kill(0)
    with pytest.raises(ClusterError) as caught:
        group.restart([0])
    assert str(caught.value) == (
        "No engine on a can become rank 0: start one there, then "
        "%dist_restart 0 (or restart_ranks([0]))."
    )
    assert group.infos == {}


def test_a_joined_engine_is_replaced_by_a_spare_one(start):
    pool, group = start(3, owned=False, nproc=2)
    group.restart([1])
    assert pool.engines == [0, 2]
    assert group.members.placed().engines == (0, 2)


def test_a_restart_without_a_spare_engine_ends_no_joined_rank(start):
    pool, group = start(2, owned=False)
    with pytest.raises(ClusterError, match="no spare engine for rank 1"):
        group.restart([1])
    assert pool.engines == [0, 1]
    assert len(group.infos) == 2


def test_initialize_completes_a_restart_that_failed(four):
    pool, group = four
    pool[0].refuses = EngineError("not now.")
    with pytest.raises(EngineError, match="not now"):
        group.restart([1])
    assert group.infos == {}
    pool[0].refuses = None
    group.initialize()
    assert group.members.placed().engines == (0, 4, 2, 3)
    assert len(group.infos) == 4


def test_a_restart_keeps_backend_timeout_and_check(start):
    pool, group = start(2)
    group.initialize("gloo", timeout_minutes=7, check=True)
    group.restart([0])
    told = pool.requested("initialize")[-1]
    assert told.keys() == {1, 2}
    for args in told.values():
        assert (args["backend"], args["timeout_minutes"], args["check"]) == ("gloo", 7, True)


def test_an_impossible_world_size_leaves_the_group_as_it_was(four):
    _, group = four
    with pytest.raises(InputError):
        group.initialize(size=0)
    assert len(group.infos) == 4
    assert group.number == 1
