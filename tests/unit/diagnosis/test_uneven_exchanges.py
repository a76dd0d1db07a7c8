"""A rank that waits for more data than the others have sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from looks import LINE, call, idle, judged, waits

EXCHANGE = call("all_to_all_single", 2, line=LINE)
HAD_ITS_PART = replace(EXCHANGE, done=True)


def test_a_rank_that_waits_for_more_than_the_others_have_sent_is_freed():
    """Its split sizes are not those of the others, whose part of the exchange has ended."""
    behind = call("barrier", 3, sizes=(), dtypes=())
    looks = [waits(EXCHANGE, still=3.0), waits(behind, "line 9: dist.barrier()", (HAD_ITS_PART,))]
    looks[0] = replace(looks[0], quiet=3.0, silent=3.0)
    found = judged(looks)
    assert (found.kind, found.ranks, found.stuck) == ("mismatch", (0, 1), (0, 1))
    assert found.proven
    assert found.summary == (
        f"Rank 0 waits in all_to_all_single #2 ({LINE}) for more data than was sent: "
        "it has ended on rank 1."
    )
    assert "input_split_sizes" in found.hint


def test_several_ranks_can_wait_for_more_than_was_sent():
    its = replace(waits(EXCHANGE), still=3.0, quiet=3.0, silent=3.0)
    found = judged([its, idle(HAD_ITS_PART), its])
    assert found.summary.startswith("Ranks 0,2 wait in all_to_all_single #2")
    assert found.summary.endswith("it has ended on rank 1.")
    assert judged([its, idle(HAD_ITS_PART), replace(its, silent=0.1)]).kind == "running"
    assert judged([its, its, its]).kind == "running"


@pytest.mark.parametrize("part", ["still", "quiet", "silent"])
def test_a_rank_to_which_data_may_be_on_its_way_is_not_left_out(part):
    rests = {"still": 3.0, "quiet": 3.0, "silent": 3.0, part: 0.5}
    found = judged([replace(waits(EXCHANGE), **rests), idle(HAD_ITS_PART)])
    assert (found.kind, found.stuck) == ("running", ())


def test_a_silence_in_a_collective_of_equal_sizes_may_be_the_networks():
    ended, its = (replace(call, op="broadcast") for call in (HAD_ITS_PART, EXCHANGE))
    waiting = replace(waits(its), still=9.0, quiet=9.0, silent=9.0)
    assert judged([idle(ended), waiting, waiting]).kind == "running"
