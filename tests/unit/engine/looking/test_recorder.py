"""Torch's own recorder in a world of one, and made-up dumps."""

from __future__ import annotations

import pickle
import time

import pytest
import torch
import torch.distributed as dist
from accounts import numbers
from processes import wait_until
from steps import SOON

from rankbook.engine.looking import flight
from rankbook.engine.looking.recorder import Recorder


class Dump:
    """Takes the place of torch's recorder: it says the entries that it is given."""

    def __init__(self):
        self()

    def __call__(self, *entries):
        self.entries = [dict(entry, record_id=number) for number, entry in enumerate(entries)]

    def pickled(self, **_):
        return pickle.dumps({"version": "2.10", "entries": self.entries})

    def recorded(self, since_ns):
        return flight.recorded(Recorder(dump=self.pickled), since_ns)


@pytest.fixture
def dump():
    return Dump()


def entry(op, seq, group="0", *, created=1000, done=True, p2p=False, sizes=(), dtypes=()):
    return {
        "process_group": (group, "default_pg"),
        "pg_id": 0,
        "collective_seq_id": seq,
        "profiling_name": f"gloo:{op}",
        "time_created_ns": created,
        "input_sizes": [list(size) for size in sizes],
        "input_dtypes": list(dtypes),
        "retired": done,
        "is_p2p": p2p,
    }


def recorded(since_ns):
    return flight.recorded(Recorder(), since_ns)


# -- the real recorder -------------------------------------------------------------------------


def test_collectives_are_recorded_with_their_tensors(world):
    began = time.time_ns()
    dist.all_reduce(torch.ones(2, 3))
    dist.broadcast(torch.ones(4, dtype=torch.int64), src=0)
    dist.barrier()
    first, second, third = recorded(began)
    assert 0 <= third.since <= first.since < 60
    assert (first.op, first.seq, first.sizes, first.dtypes) == (
        "all_reduce",
        1,
        ((2, 3),),
        ("float32",),
    )
    assert (second.op, second.seq, second.sizes, second.dtypes) == (
        "broadcast",
        2,
        ((4,),),
        ("int64",),
    )
    assert (third.op, third.seq) == ("barrier", 3)
    assert {its.group for its in (first, second, third)} == {str(dist.group.WORLD.group_name)}
    assert {its.ranks for its in (first, second, third)} == {(0,)}
    # torch retires them a moment after they have ended
    wait_until(lambda: all(its.done for its in recorded(began)), SOON)


def test_the_recorder_numbers_the_calls_of_each_group_separately(world):
    began = time.time_ns()
    group = dist.new_group([0])
    dist.all_reduce(torch.ones(1), group=group)
    dist.all_reduce(torch.ones(1))
    first, second = recorded(began)
    assert (first.group, first.seq) == (str(group.group_name), 1)
    assert (second.group, second.seq) == (str(dist.group.WORLD.group_name), 1)


def test_recorded_calls_from_before_the_present_group_are_left_out(world):
    dist.all_reduce(torch.ones(1))
    began = time.time_ns()
    dist.barrier()
    assert [its.op for its in recorded(began)] == ["barrier"]


def test_calls_of_an_earlier_group_of_the_same_name_are_left_out(world):
    began = time.time_ns()
    for _ in range(3):
        dist.all_reduce(torch.ones(1))
    dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    dist.barrier()
    [only] = recorded(began)
    assert (only.op, only.seq) == ("barrier", 1)


# -- made-up dumps -----------------------------------------------------------------------------


def test_an_empty_recorder_gives_no_calls(dump):
    assert dump.recorded(0) == ()


def test_recorded_calls_are_filtered_by_time_and_kind(dump):
    dump(
        entry("all_reduce", 1, created=10),
        entry("all_reduce", 2, created=20),
        entry("send", 0, created=30, p2p=True),
        entry("barrier", 3, created=40),
    )
    assert [its.seq for its in dump.recorded(0)] == [1, 2, 3]
    assert [its.seq for its in dump.recorded(20)] == [2, 3]
    assert dump.recorded(41) == ()


def test_of_groups_with_one_name_only_calls_of_the_latest_are_given(dump):
    dump(
        entry("all_reduce", 1),
        entry("all_reduce", 1, "1") | {"pg_id": 1},
        entry("all_reduce", 2),
        entry("barrier", 1, created=2000) | {"pg_id": 2},
        entry("broadcast", 2, created=2001) | {"pg_id": 2},
    )
    assert numbers(dump.recorded(0)) == [("1", 1), ("0", 1), ("0", 2)]
    assert [its.op for its in dump.recorded(0)] == ["all_reduce", "barrier", "broadcast"]


def test_the_recorder_forgets_groups_that_have_gone_when_there_are_very_many(dump):
    its = Recorder(dump=dump.pickled, most_names=10)
    for number in range(100):
        dump(entry("a", 1), entry("a", 2, created=1001) | {"pg_id": 9}, entry("b", 1, f"n{number}"))
        entries = its.entries()
        assert [its.nth(each, 0) for each in entries] == [1, 2, 1]
    assert len(its._nth) <= 3
    assert its.names == {"0", "n99"}
    # Each name again, for another group: that is the second where the first is known.
    dump(*(entry("b", 1, f"n{number}", created=2000) | {"pg_id": 1} for number in range(100)))
    assert [its.nth(each, 0) for each in its.entries()] == [1] * 90 + [2] * 10


def test_recorded_calls_of_several_groups_are_in_the_order_of_the_calls(dump):
    dump(entry("a", 1), entry("b", 1, "1"), entry("c", 2), entry("d", 2, "1"))
    assert [its.op for its in dump.recorded(0)] == ["a", "b", "c", "d"]


def test_recorded_calls_have_python_s_names_of_functions_and_dtypes(dump):
    dump(
        entry("all_gather", 1, sizes=[(2, 3), ()], dtypes=["Float", "Long"]),
        entry("all_reduce", 2, sizes=[(1,)], dtypes=["Float8_e5m2"]),
    )
    first, second = dump.recorded(0)
    assert (first.op, first.sizes, first.dtypes) == (
        "all_gather",
        ((2, 3), ()),
        ("float32", "int64"),
    )
    assert second.dtypes == ("float8_e5m2",)


def test_the_ranks_of_a_destroyed_group_are_unknown(dump):
    dump(entry("all_reduce", 1, "gone"))
    assert dump.recorded(0)[0].ranks == ()


@pytest.mark.parametrize(
    ("done", "kept"),
    [
        (40, range(24, 40)),
        (3, range(3)),
        (30, range(24, 40)),
        (5, range(5, 21)),
        (0, range(16)),
    ],
)
def test_a_look_has_the_latest_calls_or_those_from_the_first_open_one_on(dump, done, kept):
    total = 3 if done == 3 else 40
    dump(*(entry("all_reduce", seq, done=seq < done) for seq in range(total)))
    calls = dump.recorded(0)
    assert [its.seq for its in calls] == list(kept)
    assert [its.done for its in calls] == [seq < done for seq in kept]


def test_a_look_has_as_many_calls_of_every_group(dump):
    dump(*(entry("all_reduce", seq, str(group)) for seq in range(40) for group in range(2)))
    assert len(dump.recorded(0)) == 32
