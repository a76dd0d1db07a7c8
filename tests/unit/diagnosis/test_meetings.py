"""Groups that are made with ranks which do not exist."""

from __future__ import annotations

import pytest
from looks import IDLE, OVER, judged, runs, waits
from looks import makes as makes_group
from verdicts.meetings import joins, makes, opens, ours

from rankbook.diagnosis import diagnose
from rankbook.models import Collective
from rankbook.models.calls import SCRIPTS


def test_ranks_that_wait_for_ranks_that_do_not_exist_are_told_so():
    found = judged([makes_group("0", 0, 1, 2, 3), makes_group("0", 0, 1, 2, 3)])
    assert (found.kind, found.ranks, found.proven) == ("mismatch", (0, 1), False)
    assert found.summary == (
        "Ranks 0-1 wait in new_group (line 3: g()) for ranks 2-3, which are no ranks of this "
        "session."
    )
    assert found.hint.startswith("world_size must be 2, the number of ranks, unless")


@pytest.mark.parametrize("group", ["", SCRIPTS], ids=["a cell", "a script"])
def test_who_meets_for_more_ranks_than_there_are_is_freed(group):
    call = Collective("init_process_group", group, ranks=(0, 1, 2), since=1.0)
    meets = waits(call, "line 2: f()")
    found = judged([meets, meets])
    assert (found.kind, found.ranks, found.proven) == ("mismatch", (0, 1), True)
    assert found.summary == (
        "Ranks 0-1 wait in init_process_group (line 2: f()) for rank 2, which is no rank of this "
        "session."
    )


def test_how_many_meet_does_not_tell_who():
    meets = waits(Collective("init_process_group", ranks=(0, 1), since=1.0), "line 2: f()")
    found = judged([OVER, OVER, meets])
    assert (found.kind, found.ranks) == ("missing_rank", (0, 1))


# -- all have come, and do not meet ----------------------------------------------------------


@pytest.mark.parametrize("are_ours", [False, True], ids=["anybody may come", "only ranks come"])
def test_ranks_that_have_all_come_and_do_not_meet_are_told_that_nobody_answers(are_ours):
    looks = [joins("far:1", rank, 3, still=5.0) for rank in range(3)]
    found = judged(list(map(ours, looks)) if are_ours else looks)
    assert (found.kind, found.ranks, found.stuck) == ("missing_rank", (0, 1, 2), (0, 1, 2))
    assert found.summary == (
        "Ranks 0-2 wait for each other at far:1 (line 2: init()), and none is missing: nobody "
        "answers there."
    )
    assert found.hint.startswith("MASTER_ADDR (or the host of init_method) must be")
    assert not found.proven
    then = diagnose(dict(enumerate(looks)), past=True)
    assert then.summary == (
        "Ranks 0-2 waited for each other at far:1 (line 2: init()), and none was missing: nobody "
        "answered there."
    )


def test_some_ranks_that_do_not_meet_are_told_so_beside_others():
    two = [joins("far:1", rank, 2, still=9.0) for rank in range(2)]
    found = judged([IDLE, two[0], runs(), two[1]])
    assert (found.kind, found.ranks, found.stuck) == ("missing_rank", (1, 3), (1, 3))


def test_ranks_on_hosts_with_a_file_each_are_told_that_it_must_be_one_file():
    found = judged([joins("/home/meet", rank, 2, still=5.0) for rank in range(2)])
    assert found.summary.endswith("and none is missing: they do not see each other there.")
    assert found.hint.startswith("The file must be the same on all ranks")


@pytest.mark.parametrize(
    "looks",
    [
        [joins("far:1", 0, 2, still=60.0), joins("far:1", 1, 2, still=4.0)],
        [opens("far:1", 0, 2), opens("far:1", None, 2)],
        [makes("far:1", 0, 2), makes("far:1", 1, 2)],
    ],
    ids=["a moment ago", "a store just opened", "a group that is being made"],
)
def test_ranks_that_have_just_come_are_about_to_meet(looks):
    assert judged(looks).kind == "running"
