"""The timeline of real engines: late ranks, their lateness, and what cannot be known."""

from __future__ import annotations

import ast
import math
import re
import time
from statistics import median

import pytest
from processes import wait_until

from rankbook.errors import InputError
from rankbook.sessions.live.collector import Timeline

SOON = 20.0


@pytest.fixture
def timeline(four):
    """A timeline that knows what has been before, so that only what is new counts."""
    its = Watched(four)
    its.all()
    its.forget()
    return its


class Watched:
    """The timeline of a session, collected when a test wants it."""

    def __init__(self, session):
        self.session = session
        self.timeline = Timeline(session.members)
        self._before = 0

    def collect(self):
        return self.timeline.collect(self.session.states(), self.session.cells)

    def all(self):
        """All bars since the last ``forget``, once everything has been collected."""
        wait_until(lambda: self.collect() and not self.collect(), SOON)
        return self.bars()

    def bars(self):
        kept = self.timeline.kept
        return [
            {
                name: row[name].item() if name not in {"op", "group"} else row[name]
                for name in row.dtype.names
            }
            | {"op": kept.ops[row["op"]], "group": kept.groups[row["group"]]}
            for row in kept.since(self._before)[1]
        ]

    def forget(self):
        self._before = len(self.timeline.kept)

    def run(self, code, **options):
        result = self.session.run(code, **options)
        result.raise_for_error()
        return self.all()


def of(bars, rank):
    return [bar for bar in bars if bar["rank"] == rank]


def test_a_slow_rank_is_late_in_the_timeline(timeline):
    bars = timeline.run(
        "import time\n"
        "calls = []\n"
        "for _ in range(9):\n"
        "    if rank == 2: time.sleep(0.05)\n"
        "    began = time.time()\n"
        "    dist.all_reduce(torch.ones(100))\n"
        "    calls.append((began, time.time()))"
    )
    assert len(bars) == 36
    [cell] = timeline.session.cells[-1:]
    assert all(cell.started < bar["start"] < cell.ended for bar in bars)
    # What the ranks have measured themselves, on a machine that may be busy.
    result = timeline.session.run("calls")
    calls = {rank: ast.literal_eval(result[rank].result_repr) for rank in range(4)}
    first = [min(began for began, _ in its) for its in zip(*calls.values(), strict=True)]
    late, wrong = {}, []
    for rank, its in calls.items():
        late[rank] = median(bar["lateness"] for bar in of(bars, rank))
        for bar, (began, ended), earliest in zip(of(bars, rank), its, first, strict=True):
            assert began - 1e-3 <= bar["start"] <= bar["start"] + bar["duration"] <= ended + 1e-3
            wrong.append(abs(bar["lateness"] - (began - earliest)))
            wrong.append(abs(bar["duration"] - (ended - began)))
    assert median(wrong) < 0.005
    assert late.pop(2) > 0.02 + max(late.values())
    assert {(bar["op"], bar["nbytes"]) for bar in bars} == {("all_reduce", 400)}


def test_an_asynchronous_collective_ends_when_it_is_done(timeline):
    bars = timeline.run(
        "import time\n"
        "handle = dist.all_reduce(torch.ones(1), async_op=True)\n"
        "time.sleep(1)\n"
        "handle.wait()\n"
        "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))\n"
        "dist.barrier()\n"
        "model(torch.ones(1, 2)).sum().backward()\n"
        "dist.barrier()"
    )
    for rank in range(4):
        known = of(bars, rank)
        assert known[0]["op"] == "all_reduce"
        assert known[0]["duration"] < 0.8
        # The bucket that DDP's reducer has reduced from C++, between the last two barriers.
        *_, barrier, bucket, last = known
        assert (barrier["op"], bucket["op"], last["op"]) == ("barrier", "all_reduce", "barrier")
    assert not any(math.isnan(bar["duration"]) for bar in bars)
    assert not any(math.isnan(bar["lateness"]) for bar in bars)


def test_an_asynchronous_collective_that_was_freed_did_not_complete(timeline):
    session = timeline.session
    code = "x = torch.ones(1)\nif rank:\n    handle = dist.all_reduce(x, async_op=True)\n"
    hung = session.run(code + "    dist.barrier()")
    assert hung.diagnosis.kind == "missing_rank"
    bars = timeline.all()
    assert {(bar["op"], bar["rank"], bar["failed"]) for bar in bars} == {
        (op, rank, True) for op in ("all_reduce", "barrier") for rank in (1, 2, 3)
    }
    assert timeline.timeline.open == []


def test_send_and_recv_are_in_the_timeline_by_pairs(timeline):
    bars = timeline.run(
        "x = torch.ones(1)\n"
        "if rank == 1: time.sleep(0.1)\n"
        "dist.send(x, (rank + 1) % 4) if rank % 2 == 0 else dist.recv(x, (rank - 1) % 4)"
    )
    assert {(bar["op"], bar["rank"], bar["group"]) for bar in bars} == {
        ("send", 0, "0: 0→1"),
        ("recv", 1, "0: 0→1"),
        ("send", 2, "0: 2→3"),
        ("recv", 3, "0: 2→3"),
    }
    [late] = [bar for bar in bars if bar["rank"] == 1]
    assert late["lateness"] > 0.05
    assert all(bar["duration"] >= 0 for bar in bars)


def test_collectives_of_subgroups_are_in_the_timeline(timeline):
    bars = timeline.run(
        "pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]\n"
        "if rank == 3: time.sleep(0.05)\n"
        "dist.barrier(pairs[rank // 2])"
    )
    pairs = {}
    for bar in bars:
        pairs.setdefault(bar["group"], {})[bar["rank"]] = bar["lateness"]
    first, second = sorted(pairs.values(), key=min)
    assert (set(first), set(second)) == ({0, 1}, {2, 3})
    assert min(second.values()) == 0 == second[2]
    assert second[3] > 0.03


def test_collectives_of_a_group_made_by_a_cell_are_in_the_timeline(timeline):
    bars = timeline.run(
        "from rankbook.distributed import destroy_global_state, initialize_distributed\n"
        "dist.barrier()\n"
        "destroy_global_state()\n"
        "initialize_distributed('gloo')\n"
        "if rank == 1: time.sleep(0.05)\n"
        "dist.all_reduce(torch.ones(1))"
    )
    reduced = [bar for bar in bars if bar["op"] == "all_reduce"]
    assert [bar["rank"] for bar in reduced if bar["lateness"] > 0.03] == [1]
    assert {bar["group"] for bar in reduced} == {"0 (2)"}
    assert {bar["group"] for bar in bars if bar not in reduced} <= {"0", "0 (2)"}


def test_a_hang_is_in_flight_in_the_timeline_until_it_is_freed(timeline):
    session = timeline.session
    thread = session.in_background(
        lambda: session.run(
            "dist.barrier()\nif rank % 2: dist.all_reduce(torch.ones(1))", on_hang="wait"
        )
    )

    def is_seen():
        timeline.collect()
        return len(timeline.timeline.open) == 2

    wait_until(is_seen, SOON)
    assert {(bar.op, bar.rank) for bar in timeline.timeline.open} == {
        ("all_reduce", 1),
        ("all_reduce", 3),
    }
    assert session.states()[1].state == "waiting"
    generation = session.generation
    session.interrupt()
    thread.join(SOON)
    bars = timeline.all()
    assert timeline.timeline.open == []
    freed = [b for b in bars if b["op"] == "all_reduce" and b["generation"] == generation]
    assert {bar["rank"] for bar in freed} == {1, 3}
    assert all(bar["duration"] > 0.1 and bar["failed"] for bar in freed), freed
    assert not any(bar["failed"] for bar in bars if bar not in freed)
    # And the next group starts from nothing.
    timeline.forget()
    bars = timeline.run("dist.all_reduce(torch.ones(1))")
    assert {(bar["generation"], bar["rank"]) for bar in bars} == {
        (generation + 1, rank) for rank in range(4)
    }


def test_a_rank_that_goes_from_wait_to_wait_is_no_hang(timeline):
    """However rarely it is asked."""
    session = timeline.session
    thread = session.in_background(
        lambda: session.run(
            "import time\nwhile True:\n"
            "    time.sleep(0.1 * (rank == 1))\n    dist.all_reduce(torch.ones(1))"
        )
    )

    def in_flight():
        timeline.collect()
        return {bar.rank for bar in timeline.timeline.open if math.isnan(bar.duration)}

    wait_until(lambda: 0 in in_flight(), SOON)
    timeline.timeline._due = math.inf
    wait_until(lambda: not in_flight(), SOON)
    assert all(0 <= bar.duration < 1 for bar in timeline.timeline.open)
    session.interrupt()
    thread.join(SOON)


def test_the_age_of_a_collective_begins_with_its_call(timeline):
    session = timeline.session
    thread = session.in_background(
        lambda: session.run(
            "import time\ntime.sleep(1)\nif rank == 0: dist.barrier()", on_hang="wait"
        )
    )

    def rank_0():
        its = session.states()[0]
        return its, time.time() - session.cells[-1].started

    def waits():
        seen.append(rank_0())
        return seen[-1][0].state == "waiting"

    seen = []
    wait_until(waits, SOON)
    wait_until(lambda: rank_0()[0].since > 0.5, SOON)
    seen.append(rank_0())
    # Of the cell, it is that second older.
    assert all(0 <= its.since <= age - 0.99 for its, age in seen if its.state == "waiting")
    assert seen[-1][0].since > 0.5
    session.interrupt()
    thread.join(SOON)


def test_a_picture_shows_the_last_cell_and_stays(four, tmp_path):
    four.run("dist.barrier()").raise_for_error()
    four.run("import time\nif rank == 2: time.sleep(0.3)\ndist.barrier()").raise_for_error()
    four.run("x = 1").raise_for_error()
    chart = four.timeline()
    assert {(bar.rank, bar.op) for bar in chart.bars} == {(rank, "barrier") for rank in range(4)}
    waited = {int(line[5]): line for line in str(chart).splitlines()}
    assert all("waited 0 s" not in line for rank, line in waited.items() if rank != 2)
    assert "ms for others" in waited[0]
    chart.save(tmp_path / "timeline.svg")
    assert "barrier" in (tmp_path / "timeline.svg").read_text(encoding="utf-8")
    assert len(four.timeline("all").bars) > len(chart.bars)
    with pytest.raises(InputError, match=r"In \[99\] has not run on ranks"):
        four.timeline(99)


def test_a_picture_has_a_lane_for_each_rank_while_the_group_is_re_created(four, monkeypatch):
    four.run("dist.barrier()").raise_for_error()
    monkeypatch.setattr(type(four), "world_size", 0)  # as it is meanwhile
    chart = four.timeline()
    assert chart.world_size == 4
    assert [line[:6] for line in str(chart).splitlines()] == [f"rank {rank}" for rank in range(4)]


def test_the_timeline_follows_a_replaced_rank(timeline):
    session = timeline.session
    session.run("import os\nif rank == 3: os.kill(os.getpid(), 9)\ndist.barrier()")
    wait_until(lambda: 3 in session.dead_ranks, SOON)
    timeline.all()
    session.restart_ranks()
    timeline.all()
    timeline.forget()
    bars = timeline.run("dist.all_reduce(torch.ones(1))")
    assert sorted(bar["rank"] for bar in bars) == [0, 1, 2, 3]
    assert {bar["generation"] for bar in bars} == {session.generation}
    assert not any(math.isnan(bar["lateness"]) for bar in bars)
    assert timeline.timeline.open == []


@pytest.mark.slow
def test_the_timeline_says_how_many_of_very_many_collectives_were_lost(timeline):
    timeline.run("x = torch.ones(1)\nfor _ in range(10_000): dist.all_reduce(x)")
    bars = timeline.bars()
    there = len(of(bars, 0))
    assert 4_000 <= there < 10_000
    note = timeline.timeline.note
    assert "called too fast to be kept" in note
    lost = int(note.split()[0].replace(",", ""))
    fewest = min(len(of(bars, rank)) for rank in range(4))
    assert lost == 10_000 - fewest


def test_a_traceback_shows_no_frame_of_the_recording(four):
    code = (
        "import datetime\nshort = dist.new_group(timeout=datetime.timedelta(seconds=1))\n"
        "if rank == 0: dist.barrier(group=short)"
    )
    result = four.run(code, on_hang="wait")
    shown = re.sub(r"\x1b\[[\d;]*m", "", "".join(result[0].error.traceback))
    assert "dist.barrier(group=short)" in shown
    assert "work.wait()" in shown
    assert "blocking.py" not in shown
