"""After a cell: what ranks called or made differently, asked for only where their hashes differ."""

from __future__ import annotations

import pytest

from rankbook.calls.fingerprints import Running, key_of
from rankbook.models.calls import Call, Fingerprint, Making, Place, Slot
from rankbook.sessions.cells.comparing import Comparing

ALL = (0, 1, 2, 3)


def say(pool, *ops, generation):
    """Have each engine say that it has called one collective."""
    for engine, (op, reduce_op) in zip(pool.all.values(), ops, strict=True):
        running = Running()
        running.add(key_of((op, reduce_op)))
        engine.fingerprints = [Fingerprint("0", ALL, generation, *running.news())]
        place = Place("train.py", engine.number + 1)
        engine.calls[Slot("0", ALL, generation, 1)] = Call(
            1, op, group="0", ranks=ALL, number=1, reduce_op=reduce_op, place=place
        )


def test_where_hashes_agree_ranks_are_asked_nothing(formed, pool):
    say(pool, *[("all_reduce", "sum")] * 4, generation=formed.generation)
    assert formed.run("1").mismatches == ()
    assert pool.asked("call") == []


def test_the_odd_rank_is_named_with_both_lines(formed, pool):
    odd = [("all_reduce", "sum"), ("all_reduce", "max"), ("all_reduce", "sum")]
    say(pool, *odd, ("all_reduce", "sum"), generation=formed.generation)
    result = formed.run("1")
    assert result.ok
    [found] = result.mismatches
    assert found.ranks == (1,)
    assert found.summary == (
        "Rank 1 called all_reduce #1 with ReduceOp.MAX (train.py:2), where ranks 0,2-3 called it "
        "with ReduceOp.SUM (train.py:1). It did not hang: check what came of it."
    )
    assert found.per_rank[1] == "called all_reduce #1 with ReduceOp.MAX (train.py:2)"
    assert pool.asked("call") == [0, 1, 2, 3]


def test_a_call_that_is_no_longer_kept_gives_no_verdict(formed, pool):
    say(pool, *[("a", "")] * 3, ("b", ""), generation=formed.generation)
    for engine in pool.all.values():
        engine.calls.clear()
    assert formed.run("1").mismatches == ()


def make(pool, *made, generation):
    """Have each engine say that it has made one group, of a name and members."""
    for engine, (name, ranks) in zip(pool.all.values(), made, strict=True):
        running = Running()
        running.add(key_of((name, ranks)))
        engine.fingerprints = [Fingerprint("groups 0", ALL, generation, *running.news())]
        slot = Slot("groups 0", ALL, generation, 1)
        line = f"train.py:{len(ranks)}: group = new_group(members)"
        engine.makings[slot] = Making(name, ranks, 1, 0, line, done=True, number=1)


def test_a_group_made_of_other_members_is_reported_though_it_has_connected(formed, pool):
    make(pool, *[("1", (0, 1))] * 3, ("1", (1, 2, 3)), generation=formed.generation)
    result = formed.run("1")
    assert result.ok
    [found] = result.mismatches
    assert (found.kind, found.ranks) == ("mismatch", (3,))
    assert found.summary == (
        "Ranks 0-2 made group 1 of ranks 0-1 (train.py:2: group = new_group(members)), "
        "where rank 3 made it of ranks 1-3 (train.py:3: group = new_group(members)). "
        "It did not hang: check what came of it."
    )
    assert "same groups in the same order" in found.hint
    assert found.per_rank[3] == (
        "made group 1 of ranks 1-3 (train.py:3: group = new_group(members))"
    )


def test_a_group_of_which_some_rank_no_longer_knows_gives_no_verdict(formed, pool):
    make(pool, *[("1", (0, 1))] * 3, ("1", (1, 2, 3)), generation=formed.generation)
    for engine in pool.all.values():
        engine.makings.clear()
    assert formed.run("1").mismatches == ()


def call_on(pool, ranks, *, generation, by_main=True):
    """Have all engines say that they have called one collective, and some ranks a second."""
    for rank, engine in enumerate(pool.all.values()):
        running = Running()
        for number in range(1, 3 if rank in ranks else 2):
            running.add(key_of(("all_reduce",)))
            slot = Slot("0", ALL, generation, number)
            place = Place("train.py", 7)
            engine.calls[slot] = Call(
                1, "all_reduce", group="0", ranks=ALL, number=number, place=place, by_main=by_main
            )
        engine.fingerprints = [Fingerprint("0", ALL, generation, *running.news())]


def test_a_call_that_a_rank_has_left_out_is_told_until_the_next_one(formed, pool):
    call_on(pool, (0, 1, 3), generation=formed.generation)
    result = formed.run("1")
    assert result.ok
    [found] = result.left_out
    assert (found.kind, found.ranks, found.proven) == ("missing_rank", (2,), False)
    assert found.summary == (
        "Rank 2 has not called all_reduce #2, which ranks 0-1,3 called (train.py:7)."
    )
    assert found.hint == (
        "Its next call in this group will meet it: call it there, too, or run %dist_reset."
    )
    assert found.per_rank[3] == "called all_reduce #2 (train.py:7)"
    assert formed.run("1").left_out == ()


def test_a_cell_that_a_member_did_not_run_leaves_nothing_out(formed, pool):
    call_on(pool, (0, 1, 3), generation=formed.generation)
    assert formed.run("1", ranks=[0, 1, 3]).left_out == ()


def test_a_call_of_a_thread_that_may_still_come_is_not_told(formed, pool):
    call_on(pool, (0, 1, 3), generation=formed.generation, by_main=False)
    assert formed.run("1").left_out == ()


def test_where_a_rank_does_not_answer_nobody_is_said_to_have_left_a_call_out(formed, pool):
    call_on(pool, (0, 1, 3), generation=formed.generation)
    take = pool[3].take
    pool[3].take = lambda task: None if task.op == "call" else take(task)
    assert formed.run("1").left_out == ()


@pytest.mark.parametrize("left_out", [True, False])
def test_ranks_that_are_gone_when_a_cell_has_ended_are_not_asked(formed, pool, left_out):
    if left_out:
        call_on(pool, (0, 1, 3), generation=formed.generation)
    else:
        say(pool, *[("all_reduce", "sum")] * 3, ("b", ""), generation=formed.generation)
    comparing = Comparing(formed.members)
    fingerprints = {rank: engine.fingerprints for rank, engine in pool.all.items()}
    formed.members.placement = None  # as while the ranks are replaced
    found = comparing.compare(fingerprints)
    assert (found.differing, found.left_out) == ((), ())
    assert pool.asked("call") == []
