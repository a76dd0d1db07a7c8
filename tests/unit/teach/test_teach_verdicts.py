"""What is said about an answer, by rank and by target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rankbook.errors import LessonError
from rankbook.models.calls import Traffic
from rankbook.teach import Exercise, Mistake, Target
from rankbook.teach.trying import Tried
from rankbook.teach.usual import UNWAITED
from rankbook.teach.verdicts import verdict_on


def never(here):
    raise AssertionError("nothing is tried here")


TWICE = Mistake("twice", "Add once.", "", says="has the sum twice", gives=never)
HANGS = Mistake("hangs", "Send first.", "", seen=lambda seen: seen.hang == "mismatch")
TOO_MUCH = Mistake("much", "Send less.", "", seen=lambda seen: "bytes" in seen.missed)
EXERCISE = Exercise(
    "ring",
    "A ring",
    needs=("ring",),
    tries=never,
    right=never,
    mistakes=(TWICE, HANGS, TOO_MUCH),
    hints=("Think.",),
    targets=(Target("bytes", "nbytes", "bytes", most=96), Target("calls", "calls", "calls", 12)),
)


RING = Traffic(12, 96)


def tried(*findings, traffic=RING, **more):
    said = {
        rank: {"finding": finding, "got": "3", "want": "4", "notes": {}}
        for rank, finding in enumerate(findings)
        if finding
    }
    return Tried(said, dict.fromkeys(range(len(findings)), traffic), **more)


def test_right_on_all_ranks_with_what_it_took():
    verdict = verdict_on(EXERCISE, tried("right", "right", "right", "right"))
    assert verdict.ok
    assert verdict.said == "Ranks 0-3 are right."
    assert verdict.reached == "On each rank 96 bytes, 12 calls."
    assert verdict.hint == ""


def test_a_right_value_that_nothing_waited_for_is_not_right():
    lucky = tried("right", "right", "right", "right")
    for rank, calls in ((1, 1), (3, 2)):
        lucky.said[rank]["notes"]["unwaited"] = calls
    verdict = verdict_on(EXERCISE, lucky)
    assert not verdict.ok
    assert verdict.reached == "But ranks 1,3 never waited for 2 calls: that it went well is luck."
    assert verdict.hint == UNWAITED


def test_each_rank_is_spoken_of_and_the_mistake_of_one_gets_its_hint():
    verdict = verdict_on(EXERCISE, tried("right", "right", "right", "twice"))
    assert not verdict.ok
    assert verdict.said == "Ranks 0-2 are right, rank 3 has the sum twice."
    assert (verdict.mistake, verdict.hint) == ("twice", "Add once.")


def test_what_several_ranks_did_is_said_in_the_plural():
    said = verdict_on(EXERCISE, tried("twice", "twice")).said
    assert said == "Ranks 0-1 have the sum twice."


def test_a_mistake_that_explains_some_of_the_wrong_ranks_only_may_be_chance():
    verdict = verdict_on(EXERCISE, tried("twice", "other", "right"))
    assert verdict.said == "Rank 2 is right, rank 0 has the sum twice, rank 1 got 3; right is 4."
    assert verdict.hint == ""


def test_what_was_seen_is_said_though_the_value_fits_another_mistake():
    seen = Mistake("slow", "Faster.", "", says="is slow", seen=lambda seen: not seen.right)
    exercise = replace(EXERCISE, mistakes=(TWICE, seen))
    verdict = verdict_on(exercise, tried("twice", "other"))
    assert (verdict.said, verdict.hint) == ("Ranks 0-1 are slow.", "Faster.")


def test_a_value_that_nobody_knows_is_shown_beside_the_right_one():
    verdict = verdict_on(EXERCISE, tried("other", "right"))
    assert verdict.said == "Rank 1 is right, rank 0 got 3; right is 4."
    assert verdict.hint == ""


def test_a_function_that_returns_nothing_is_recognised():
    answer = Tried({0: {"finding": "other", "got": "None", "want": "4", "notes": {}}})
    assert "returned nothing (None)" in verdict_on(EXERCISE, answer).said


def test_a_target_that_is_missed_is_said_with_the_ranks():
    answer = tried("right", "right", traffic=Traffic(12, 384))
    verdict = verdict_on(EXERCISE, answer)
    assert not verdict.ok
    assert verdict.said == "Ranks 0-1 are right."
    assert verdict.reached == "But ranks 0-1 had 384 bytes, where 96 are enough."
    assert verdict.hint == "Send less."


def test_of_a_hang_the_verdict_is_reported():
    answer = tried(None, None, hang="mismatch", verdict="Ranks 0-1 waited for each other.")
    verdict = verdict_on(EXERCISE, answer)
    assert verdict.said == "Ranks 0-1 waited for each other."
    assert verdict.hint == "Send first."


def test_an_exception_is_reported_with_its_ranks_even_if_others_waited_for_them():
    raised = {1: ("IndexError", "IndexError: out of range (In [3] line 4)")}
    answer = tried(None, None, hang="raised", verdict="Rank 1 raised …", raised=raised)
    said = verdict_on(EXERCISE, answer).said
    assert said == "Rank 1 raised IndexError: out of range (In [3] line 4)."


def test_what_takes_too_long_is_said_with_the_time():
    said = verdict_on(EXERCISE, tried("right", None, late={1: "In [3] line 2: f()"})).said
    assert said == "Rank 0 is right, rank 1 did not come to an end in 20 s (In [3] line 2: f())."


def test_where_other_values_are_right_on_each_rank_they_are_shown_by_rank():
    answer = tried("other", "other")
    other = {**answer.said[1], "want": "5"}
    said = verdict_on(EXERCISE, Tried({**answer.said, 1: other}, answer.traffic)).said
    assert said == "Rank 0 got 3, not 4, rank 1 got 3, not 5."


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("lacks one chunk", "lack one chunk"),
        ("names itself", "name themselves"),
        ("never does its last passes", "never do their last passes"),
        ("made only the group that it is in", "made only the group that they are in"),
        ("has numbers in it more than once", "have numbers in them more than once"),
        ("hides it behind the forward pass", "hide it behind the forward pass"),
        ("got nan", "got nan"),
    ],
)
def test_what_is_said_of_one_rank_is_said_of_several_in_the_plural(one, many):
    mistake = Mistake("m", "Hint.", "", says=one, gives=never)
    exercise = replace(EXERCISE, mistakes=(mistake,))
    assert verdict_on(exercise, tried("m", "m")).said == f"Ranks 0-1 {many}."
    assert verdict_on(exercise, tried("right", "m")).said == f"Rank 0 is right, rank 1 {one}."


def test_a_rank_with_a_value_of_its_own_is_not_said_to_have_made_the_mistake_of_another():
    verdict = verdict_on(EXERCISE, tried("right", "twice", "other"))
    assert verdict.said == "Rank 0 is right, rank 1 has the sum twice, rank 2 got 3; right is 4."


def test_in_a_hang_the_values_of_ranks_that_came_to_an_end_give_no_hint():
    answer = tried("twice", None, hang="missing_rank", verdict="Rank 0 never called recv #2.")
    assert verdict_on(EXERCISE, answer).hint == ""


def test_the_words_of_an_exception_are_left_as_they_are():
    raised = dict.fromkeys((0, 1), ("AttributeError", "AttributeError: it has no attribute 'is'"))
    said = verdict_on(EXERCISE, tried(None, None, raised=raised)).said
    assert said == "Ranks 0-1 raised AttributeError: it has no attribute 'is'."


def test_names_that_ranks_lack_send_one_back_to_the_exercise():
    lacking = {rank: {"lacks": ["ring"]} for rank in range(4)}
    with pytest.raises(LessonError, match=r"Ranks 0-3 have no ring: run the exercise's cell"):
        verdict_on(EXERCISE, Tried(lacking))
