"""What a verdict says that it often is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from looks import IDLE, NEW_GROUP, REDUCE, call, done, idle, judged, receives, runs, waits

from rankbook.diagnosis import diagnose

HERE = replace(REDUCE, line="In [4] line 3")
COMPILED = replace(REDUCE, line="In [4] line 2: def f(x):")
MEETS = call("barrier", line="x.py:9")
ENDED_CELL = "its cell has ended"


def ended_after(*calls):
    return replace(idle(*calls), line=ENDED_CELL)


@pytest.mark.parametrize(
    ("looks", "hint"),
    [
        ([waits(HERE), ended_after(done(replace(HERE, seq=4)))], "uneven shards: rank 1 had fewer"),
        ([waits(HERE), ended_after(done(replace(HERE, seq=4, sizes=((9,),))))], "uneven shards"),
        (
            [
                waits(HERE, recent=(done(replace(HERE, seq=4, sizes=((9,),))),)),
                ended_after(done(replace(HERE, seq=4, sizes=((9,),)))),
            ],
            "it may be a layer that was not used there",
        ),
        ([waits(MEETS), ended_after(done(replace(MEETS, seq=4)))], "a branch that only some"),
        ([waits(HERE), ended_after()], "a branch that only some ranks take"),
        ([waits(HERE), ended_after(done(replace(HERE, seq=4, line="x.py:1")))], "a branch"),
        ([waits(COMPILED), ended_after(done(replace(COMPILED, seq=4)))], "a branch that only"),
        ([waits(HERE), IDLE], "The cell was not given to rank 1"),
        ([waits(NEW_GROUP), ended_after()], "Every rank of the world must call new_group"),
        ([receives(1), ended_after()], "Every send needs a recv"),
        ([receives(1), receives(0)], "let odd ranks send first"),
        ([waits(), waits(call("barrier"))], "different branches"),
        ([waits(), waits(call(sizes=((5,),)))], "--check says so before the call"),
        (
            [waits(call("broadcast", peer=0)), waits(call("broadcast", peer=1))],
            "must be the same on every rank",
        ),
        ([waits(), runs()], "work that only some ranks do"),
        (
            [waits(), replace(runs(), still=12.0), replace(runs(), still=30.0)],
            "They have not computed for 12 s, as in a sleep, or a wait for a lock, a file",
        ),
        ([waits(), replace(runs(), still=12.0), runs()], "work that only some ranks do"),
        ([waits(replace(HERE, in_destructor=True)), ended_after()], "no collective there"),
        ([waits(call("barrier", in_destructor=True)), waits()], "no collective there"),
    ],
)
def test_a_verdict_says_what_it_often_is(looks, hint):
    assert hint in judged(looks).hint


def test_a_slow_rank_that_handles_an_exception_shows_it():
    """It tries again and again, for example, while the others wait."""
    retries = replace(runs(), handles="OSError: 404", raised_at="line 2: load()")
    assert judged([retries, waits()]).summary == (
        "Rank 0 raised OSError: 404 (line 2: load()) and still runs (line 4: time.sleep(20)); "
        "rank 1 has waited for it in all_reduce #5 for 12 s."
    )


def test_a_wait_that_may_end_by_itself_proves_nothing():
    its = replace(waits(HERE), may_end=True)
    found = judged([its, ended_after()])
    assert (found.kind, found.stuck, found.proven) == ("missing_rank", (0,), False)


def test_a_wait_with_a_timeout_of_its_own_says_when_it_ends():
    its = replace(waits(HERE), may_end=True, gives_up=7.6)
    found = judged([its, ended_after()])
    assert "8 s before its timeout (line 3" in found.per_rank[0]
    assert "rank 0 gives up in 8 s; %dist_interrupt frees" in found.hint
    past = diagnose({0: its, 1: ended_after()}, past=True)
    assert "it would have ended after 8 s more" in past.hint


def test_a_verdict_that_is_only_likely_says_so():
    looks = [waits(HERE, still=0.0), ended_after()]
    assert "likely, not proven" in judged(looks).hint
    assert "likely" not in judged([waits(HERE), ended_after()]).hint
