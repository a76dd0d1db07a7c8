"""Where the time of ranks went, and one trace of all of them, from records made by hand."""

from __future__ import annotations

import json
import math

import pytest

from rankbook.display import profile as view
from rankbook.models.calls import Call, Place
from rankbook.models.profiles import Profile, Share, Waited
from rankbook.trace import merging, waits

MAIN = 7
T = 1000.0  # when all of it happens, seconds since the epoch


def call(number, issued, completed, *, awaited=None, op="all_reduce", **facts):
    return Call(
        number,
        op,
        group="0",
        ranks=facts.pop("ranks", (0, 1)),
        number=number,
        thread=MAIN,
        place=Place("train.py", 6, "step"),
        issued=T + issued,
        returned=T + issued,
        awaited=T + (issued if awaited is None else awaited),
        completed=None if completed is None else T + completed,
        **facts,
    )


LATE = {0: [call(1, 0.0, 0.5)], 1: [call(1, 0.4, 0.5)]}
"""Rank 1 comes 0.4 s late."""


def test_until_the_last_rank_came_a_rank_waits_and_then_it_communicates():
    [meeting] = waits.meetings(LATE)
    assert meeting.last == 1
    assert meeting.waits(0) == pytest.approx((0.4, 0.1))
    assert meeting.waits(1) == pytest.approx((0.0, 0.1))


def test_the_rest_of_the_cell_is_computing():
    met = waits.meetings(LATE)
    assert waits.share(0, MAIN, 1.0, met) == Share(1.0, *map(pytest.approx, (0.5, 0.1, 0.4)))
    assert waits.share(1, MAIN, 1.0, met) == Share(1.0, *map(pytest.approx, (0.9, 0.1, 0.0)))


def test_a_collective_that_overlaps_with_computing_is_no_wait_for_others():
    asynchronous = call(1, 0.0, 0.3, awaited=0.6)
    [meeting] = waits.meetings({0: [asynchronous], 1: [call(1, 0.2, 0.3)]})
    assert meeting.waits(0) == pytest.approx((0, 0))
    assert waits.share(0, MAIN + 1, 1.0, [meeting]).computing == 1.0  # in another thread


def test_a_rank_that_never_came_is_waited_for_to_the_end():
    calls = {0: [call(1, 0, 0.1), call(2, 0.2, 1.2)], 1: [call(1, 0, 0.1)]}
    _, meeting = waits.meetings(calls)
    assert (meeting.missing, meeting.last, meeting.all_there) == ((1,), 1, math.inf)
    assert meeting.waits(0) == pytest.approx((1.0, 0.0))
    [worst] = waits.worst([meeting])
    assert worst == Waited(0, pytest.approx(1.0), "all_reduce", 2, "train.py:6 in step", 1, False)  # noqa: FBT003


def test_a_rank_whose_early_calls_are_not_kept_any_more_is_not_missing():
    calls = {0: [call(n, n, n + 0.1) for n in (1, 2, 3)], 1: [call(3, 3, 3.1)]}
    assert [meeting.missing for meeting in waits.meetings(calls)] == [(), (), ()]


def test_the_longest_waits_are_named_with_the_rank_that_was_waited_for():
    calls = {
        0: [call(n, n, n + 0.1 * n) for n in range(1, 6)],
        1: [call(n, n + 0.1 * n, n + 0.1 * n) for n in range(1, 6)],
    }
    worst = waits.worst(waits.meetings(calls))
    assert [(one.number, one.rank, one.last) for one in worst] == [(5, 0, 1), (4, 0, 1), (3, 0, 1)]
    assert waits.worst(waits.meetings({0: [call(1, 0, 0)], 1: [call(1, 1e-5, 0)]})) == ()


def test_a_recv_waits_for_its_send_and_a_send_for_nobody():
    send = call(1, 0.3, 0.3, op="send", peer=1, tag=0)
    recv = call(1, 0.0, 0.4, op="recv", peer=0, tag=0)
    [meeting] = waits.meetings({0: [send], 1: [recv]})
    assert (meeting.last, meeting.missing) == (0, ())
    assert meeting.waits(1) == pytest.approx((0.3, 0.1))
    [alone] = waits.meetings({0: [send], 1: []})
    assert alone.missing == ()
    [lonely] = waits.meetings({0: [], 1: [recv]})
    assert lonely.missing == (0,)


def recorded(*events, host="a", ahead=0.0, base=0):
    trace = {"baseTimeNanoseconds": base, "traceEvents": list(events)}
    return merging.Recorded(trace, host, ahead, T + ahead, 1.0)


def event(at, **facts):
    plain = {"ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 99, "tid": 99, "dur": 1.0}
    return {**plain, "ts": (T + at) * 1e6, **facts}


def merged(by_rank, calls=None):
    text, operations, count = merging.merge(by_rank, waits.meetings(calls or {}))
    return json.loads(text)["traceEvents"], operations, count


def test_each_rank_is_a_process_with_its_host_and_clocks_are_aligned():
    ahead = 5.0
    other = recorded(event(0.25 + ahead), host="b", ahead=ahead)
    events, operations, count = merged({0: recorded(event(0.25)), 1: other})
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {0: "rank 0 on a", 1: "rank 1 on b"}
    ops = {e["pid"]: e["ts"] for e in events if e["name"] == "aten::add"}
    assert ops == {0: pytest.approx(250_000), 1: pytest.approx(250_000)}
    assert (operations, count) == ({0: 1, 1: 1}, 2)


def test_the_profilers_times_count_from_its_base():
    shifted = event(0.25, ts=(T + 0.25) * 1e6 - 7e6)
    events, _, _ = merged({0: recorded(shifted, base=7_000_000_000)})
    assert [e["ts"] for e in events if e["name"] == "aten::add"] == [pytest.approx(250_000)]


def test_profiled_calls_outside_the_cell_are_left_out():
    events, operations, _ = merged({0: recorded(event(-0.5), event(0.5), event(1.5))})
    assert [e["ts"] for e in events if e["name"] == "aten::add"] == [pytest.approx(500_000)]
    assert operations == {0: 1}


def test_arrows_lead_from_the_rank_that_came_last_to_those_that_waited():
    events, _, _ = merged({0: recorded(), 1: recorded()}, LATE)
    [start] = [e for e in events if e["ph"] == "s"]
    [finish] = [e for e in events if e["ph"] == "f"]
    assert (start["pid"], finish["pid"], start["id"]) == (1, 0, finish["id"])
    bars = {e["pid"]: e for e in events if e["ph"] == "X"}
    for arrow in (start, finish):
        bar = bars[arrow["pid"]]
        assert bar["ts"] < arrow["ts"] < bar["ts"] + bar["dur"]
        assert arrow["tid"] == bar["tid"]
    assert bars[0]["args"]["line"] == "train.py:6 in step"
    assert bars[0]["args"]["waited for others (us)"] == pytest.approx(400_000)


def test_arrows_of_two_ranks_profilers_are_not_taken_for_one():
    flow = event(0.1, ph="s", id=1, cat="fwdbwd")
    events, _, _ = merged({0: recorded(flow), 1: recorded(flow)})
    assert [e["id"] for e in events if e["ph"] == "s"] == ["0.1", "1.1"]


def test_the_table_says_where_the_time_went_and_the_worst_waits_with_their_lines():
    found = Profile(
        "/x/trace.json.gz",
        {0: Share(1.0, 0.5, 0.1, 0.4, 0.01)},
        (Waited(0, 0.4, "all_reduce", 5, "train.py:6 in step", 1),),
        events=12,
        clock_error=2e-4,
        notes=("Rank 1 has no trace.",),
    )
    lines = view.to_text(found).splitlines()
    row = "0 1 s 500 ms (50 %) 100 ms (10 %) 400 ms (40 %) ≈ 10 ms (1 %)"
    assert lines[1].split() == row.split()
    assert lines[3] == "400 ms: rank 0 waited for rank 1 in all_reduce #5 (train.py:6 in step)"
    assert lines[4].startswith("/x/trace.json.gz: 12 events of 1 rank, clocks within 200 us.")
    assert lines[5] == "Rank 1 has no trace."
    assert "400 ms (40 %)" in view.to_html(found)
