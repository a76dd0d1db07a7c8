"""After a cell: what ranks called differently, asked for only where their hashes differ."""

from __future__ import annotations

from rankbook.calls.fingerprints import Running, key_of
from rankbook.models.calls import Call, Fingerprint, Place, Slot

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
