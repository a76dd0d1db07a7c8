"""A rank that waits in the making of a group which has come about on the others."""

from __future__ import annotations

from dataclasses import replace

from looks import IDLE, call, judged, makes, making, runs, waits

MEMBERS = (0, 1, 2, 3)
HAVE_IT = (making("1", *MEMBERS, done=True),)
WAITS_FOR_IT = replace(makes("1", *MEMBERS), still=3.0)
GOES_ON_WITH_IT = replace(
    waits(call("barrier", 1, group="1", ranks=MEMBERS), "line 4: b()"), groups=HAVE_IT
)


def test_ranks_that_wait_for_a_group_that_the_others_have_are_freed():
    """As where torch's debug level differs between ranks."""
    looks = [WAITS_FOR_IT, WAITS_FOR_IT, GOES_ON_WITH_IT, replace(runs(), groups=HAVE_IT)]
    found = judged(looks)
    assert (found.kind, found.ranks, found.stuck) == ("mismatch", (0, 1), (0, 1, 2))
    assert found.proven
    assert found.summary == (
        "Ranks 0-1 wait in new_group of group 1 (line 3: g()): it has ended on ranks 2-3."
    )
    assert "TORCH_DISTRIBUTED_DEBUG" in found.hint


def test_a_rank_that_may_still_connect_is_not_stuck():
    has_it = replace(IDLE, groups=HAVE_IT)
    just_came = replace(WAITS_FOR_IT, still=1.0)
    for looks in (
        [just_came, has_it, has_it, has_it],
        [WAITS_FOR_IT, just_came, has_it, has_it],
        [WAITS_FOR_IT] * 4,
    ):
        found = judged(looks)
        assert (found.kind, found.stuck) == ("running", ())


def test_a_rank_that_has_yet_to_come_is_waited_for():
    found = judged([WAITS_FOR_IT, replace(IDLE, groups=HAVE_IT), runs(), runs()])
    assert (found.kind, found.ranks) == ("slow", (2, 3))
