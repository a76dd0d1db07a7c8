"""Who is which rank, from one process group to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakePool
from steps import infos

from rankbook.errors import ClusterError, EngineError, InputError, SessionError
from rankbook.sessions.generations import Generations, how_to_replace, named


@pytest.fixture
def start(impatient):
    """Makes generations on pools of one's own, with a group."""
    made = []

    def new(*args, nproc=None, **options):
        pool = FakePool(*args, **options)
        generations = Generations(pool)
        made.append(generations)
        pool.on_end = generations.ended.__setitem__
        generations.initialize("gloo", nproc)
        return pool, generations

    yield new
    for generations in made:
        generations.close()


@pytest.fixture
def four(start):
    return start(4)


def drawn(generations):
    """By rank: engine, host, local rank."""
    return [(p.engine, p.host, p.local_rank) for p in generations.placed().places]


# -- who is there ----------------------------------------------------------------------------


def test_before_the_first_group_nobody_is_a_rank(impatient):
    generations = Generations(FakePool(2))
    assert generations.number == 0
    assert generations.groups == {}
    assert generations.dead_ranks == {}
    assert generations.alive == [0, 1]
    generations.refuse_dead()
    with pytest.raises(SessionError, match="There is no process group: make one with %dist_init"):
        generations.placed()
    with pytest.raises(SessionError, match="There is no process group"):
        generations.restart([0])
    generations.close()


@pytest.mark.parametrize("registered", [True, False])
def test_who_has_ended_is_not_alive_whatever_the_hub_says(four, registered):
    pool, generations = four
    pool.kill(1, 3, registered=registered)
    assert generations.alive == [0, 2, 3]
    assert generations.dead_ranks == {1: 3}


def test_dead_ranks_are_told_by_rank_and_not_by_engine(start):
    pool, generations = start(4, hosts="ab")
    pool.kill(2)
    assert generations.dead_ranks == {1: -9}


def test_a_spare_engine_that_ends_is_no_dead_rank(start):
    pool, generations = start(4, nproc=2)
    pool.kill(3)
    assert generations.dead_ranks == {}
    generations.refuse_dead()


# -- refusing --------------------------------------------------------------------------------


def test_with_a_dead_rank_what_needs_all_is_refused(four):
    pool, generations = four
    pool.kill(2)
    for act in (generations.refuse_dead, generations.initialize):
        with pytest.raises(SessionError) as caught:
            act()
        assert str(caught.value) == (
            "Rank 2 was killed by SIGKILL: %dist_restart 2 (or restart_ranks([2])) replaces it and "
            "keeps the others."
        )


@pytest.mark.parametrize(("ranks", "refused"), [([0, 1], False), ([1, 2], True), ([], False)])
def test_only_a_dead_rank_that_is_asked_for_is_refused(four, ranks, refused):
    pool, generations = four
    pool.kill(2)
    if refused:
        with pytest.raises(SessionError, match="Rank 2 was killed"):
            generations.refuse_dead(ranks)
    else:
        generations.refuse_dead(ranks)


def test_a_refusal_names_all_that_are_to_be_replaced(four):
    pool, generations = four
    pool.kill(2, 1)
    pool.kill(0)
    with pytest.raises(SessionError) as caught:
        generations.refuse_dead([2])
    assert str(caught.value) == (
        "Rank 0 was killed by SIGKILL, rank 2 ended with exit code 1: "
        "%dist_restart 0,2 (or restart_ranks([0, 2])) replaces them and keeps the others."
    )


def test_ranks_are_named_as_a_sentence_begins():
    assert (named([1]), named([0, 1, 2, 4])) == ("Rank 1", "Ranks 0-2,4")
    assert how_to_replace((3, 1)) == "%dist_restart 1,3 (or restart_ranks([1, 3]))"
    assert how_to_replace(range(64)) == "%dist_restart 0-63 (or restart_ranks('0-63'))"


# -- making groups ---------------------------------------------------------------------------


def test_who_was_a_rank_stays_the_same_one(start):
    """After a restart rank 1 is engine 4; the next group must not put it last."""
    _, generations = start(4)
    generations.restart([1])
    generations.initialize()
    assert generations.placed().engines == (0, 4, 2, 3)
    generations.initialize(nproc=2)
    assert generations.placed().engines == (0, 4)
    generations.initialize(nproc=4)
    assert generations.placed().engines[:2] == (0, 4)


def test_more_engines_are_started_by_their_ids(four):
    """One that has ended may still be counted by the hub, and its id is never used again."""
    pool, generations = four
    generations.initialize(nproc=2)
    pool.kill(3, registered=True)
    generations.initialize(nproc=4)
    assert pool.grown == [1]
    assert generations.placed().engines == (0, 1, 2, 4)
    assert [info.rank for info in infos(pool) if info] == [0, 1, 2, 3]


def test_who_is_no_rank_any_more_leaves_the_group(four):
    pool, generations = four
    generations.initialize(nproc=2)
    assert pool.requested("destroy") == [{2: {}, 3: {}}]
    assert infos(pool)[2:] == [None, None]


def test_one_that_does_not_leave_hinders_nobody(four):
    pool, generations = four
    pool[3].answers = False
    generations.initialize(nproc=3)
    assert len(generations.groups) == 3


def test_leaving_asks_those_that_live(four):
    pool, generations = four
    pool.kill(1)
    generations.leave()
    assert generations.groups == {}
    assert pool.requested("destroy") == [{0: {}, 2: {}, 3: {}}]


def test_new_engines_are_asked_for_their_facts_anew(four):
    pool, generations = four
    generations.forget_engines()
    assert generations.placement is None
    pool.replace()
    generations.know_engines()
    assert generations.ended == {}
    pool[0].facts = replace(pool[0].facts, host="elsewhere")
    generations.initialize()
    assert drawn(generations)[0] == (0, "elsewhere", 0)


def test_nothing_is_left_in_files(four):
    _, generations = four
    assert Path(generations._directory).is_dir()
    generations.close()
    assert not Path(generations._directory).exists()
    assert generations.groups == {}


# -- replacing ranks -------------------------------------------------------------------------


def test_a_dead_rank_gets_a_new_engine_and_the_others_keep_theirs(four):
    pool, generations = four
    pool[3].names["x"] = "kept"
    pool.kill(1)
    generations.restart([1])
    assert drawn(generations) == [(0, "a", 0), (4, "a", 1), (2, "a", 2), (3, "a", 3)]
    assert pool.asked("destroy") == []
    assert pool[3].names["x"] == "kept"
    assert generations.number == 2
    assert [generations.groups[r].generation for r in range(4)] == [2] * 4
    assert generations.dead_ranks == {}
    assert [info.rank for info in infos(pool)] == [0, 2, 3, 1]


def test_the_new_engine_is_told_the_same_place(four):
    pool, generations = four
    generations.restart([2])
    first, second = pool.requested("initialize")
    assert set(second) == {0, 1, 3, 4}
    for engine in range(4):
        new = {"url": second[0]["url"], "generation": 2}
        assert second[4 if engine == 2 else engine] == first[engine] | new


def test_a_rank_that_lives_is_ended_first(four):
    pool, generations = four
    generations.restart([0, 3])
    assert generations.ended == {0: -9, 3: -9}
    assert pool.engines == [1, 2, 4, 5]
    assert generations.placed().engines == (4, 1, 2, 5)


def test_engines_that_have_ended_are_not_ended_again(four, monkeypatch):
    pool, generations = four
    pool.kill(1, registered=True)
    ended = []
    monkeypatch.setattr(pool, "end", ended.append)
    generations.restart([1])
    assert ended == []


def test_a_spare_engine_takes_the_place_before_one_is_started(start):
    pool, generations = start(4, nproc=3)
    generations.restart([1])
    assert pool.grown == []
    assert generations.placed().engines == (0, 3, 2)
    assert generations.placed().spare == ()
    generations.restart([1])
    assert pool.grown == [1]
    assert generations.placed().engines == (0, 4, 2)


def test_other_spares_stay_spare(start):
    _, generations = start(5, nproc=2)
    generations.restart([0])
    assert generations.placed().engines == (2, 1)
    assert generations.placed().spare == (3, 4)


def test_the_new_engine_stands_on_the_same_host(start):
    _, generations = start(6, hosts="ab", nproc=4)
    assert drawn(generations) == [(0, "a", 0), (2, "a", 1), (4, "a", 2), (1, "b", 0)]
    generations.restart([3])
    assert drawn(generations) == [(0, "a", 0), (2, "a", 1), (4, "a", 2), (3, "b", 0)]


def test_where_no_engine_can_take_the_place_it_says_where_one_is_missing(start):
    pool, generations = start(5, hosts="ab", nproc=4)
    pool.kill(0)
    with pytest.raises(ClusterError) as caught:
        generations.restart([0])
    assert str(caught.value) == (
        "No engine on a can become rank 0: start one there, then "
        "%dist_restart 0 (or restart_ranks([0]))."
    )
    assert generations.groups == {}


def test_engines_that_were_joined_are_replaced_by_spare_ones(start):
    pool, generations = start(3, owned=False, nproc=2)
    generations.restart([1])
    assert pool.engines == [0, 2]
    assert generations.placed().engines == (0, 2)


def test_where_none_can_be_started_no_rank_is_ended(start):
    pool, generations = start(2, owned=False)
    with pytest.raises(ClusterError, match="no spare engine for rank 1"):
        generations.restart([1])
    assert pool.engines == [0, 1]
    assert len(generations.groups) == 2


def test_a_restart_that_fails_can_be_done_again(four):
    pool, generations = four
    pool[0].refuses = EngineError("not now.")
    with pytest.raises(EngineError, match="not now"):
        generations.restart([1])
    assert generations.groups == {}
    pool[0].refuses = None
    generations.initialize()
    assert generations.placed().engines == (0, 4, 2, 3)
    assert len(generations.groups) == 4


def test_backend_timeout_and_check_are_kept(start):
    pool, generations = start(2)
    generations.initialize("gloo", timeout_minutes=7, check=True)
    generations.restart([0])
    told = pool.requested("initialize")[-1]
    assert told.keys() == {1, 2}
    for args in told.values():
        assert (args["backend"], args["timeout_minutes"], args["check"]) == ("gloo", 7, True)


def test_what_makes_no_sense_leaves_the_group_as_it_was(four):
    _, generations = four
    with pytest.raises(InputError):
        generations.initialize(nproc=0)
    assert len(generations.groups) == 4
    assert generations.number == 1
