"""What a rank answers for the timeline: torch's own recorder in a world of one, made-up dumps."""

from __future__ import annotations

import json
import threading
import time

import pytest
import torch
import torch.distributed as dist
from processes import wait_until
from steps import SOON

from rankbook.engine import history as history_module
from rankbook.engine.history import Epoch, History
from rankbook.engine.recorder import Recorder
from rankbook.engine.waits import Waits
from rankbook.models import Recording, load, to_dict
from rankbook.models.recorded import EntryGroup


def join():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


@pytest.fixture
def world():
    join()
    yield
    dist.destroy_process_group()


@pytest.fixture
def waits():
    noting = Waits()
    noting.install()
    yield noting
    noting.remove()


@pytest.fixture
def history(waits):
    return History(Recorder(), waits)


@pytest.fixture
def epochs():
    """One group, which begins now, as rank 3 of generation 7."""
    return [Epoch(time.time_ns(), 7, 3)]


def told(history, epochs, after=-1):
    """The entries of an answer, once torch has retired all, with their names, as dicts."""
    answers = []

    def done():
        sent = json.dumps(to_dict(history.tell(epochs, after)))
        answers.append(load(Recording, json.loads(sent)))
        return all(entry.done for entry in answers[-1].entries)

    wait_until(done, SOON)
    answer = answers[-1]
    return [
        entry._asdict() | {"op": answer.ops[entry.op], "group": answer.groups[entry.group]}
        for entry in answer.entries
    ]


def test_a_blocking_collective_has_its_times(world, history, epochs):
    before = time.time()
    dist.all_reduce(torch.ones(2, 3))
    [one] = told(history, epochs)
    assert before - 0.001 <= one["created"] <= one["ended"] <= time.time()
    assert (one["op"], one["seq"], one["done"], one["nbytes"]) == ("all_reduce", 1, True, 24)
    assert one["group"] == EntryGroup(str(dist.group.WORLD.group_name), (0,), 7, 3)
    assert not one["failed"]


def test_the_end_of_an_asynchronous_collective_is_unknown(world, history, epochs):
    handle = dist.all_reduce(torch.ones(2), async_op=True)
    dist.barrier()
    handle.wait()
    first, second = told(history, epochs)
    assert (first["op"], first["ended"], first["done"]) == ("all_reduce", None, True)
    assert second["ended"] is not None


def test_each_thread_waits_for_its_own_collectives(world, history, epochs):
    dist.all_reduce(torch.ones(2), async_op=True)
    thread = threading.Thread(target=dist.barrier)
    thread.start()
    thread.join()
    dist.broadcast(torch.ones(1), src=0)
    ended = {one["op"]: one["ended"] for one in told(history, epochs)}
    assert ended["all_reduce"] is None
    assert ended["barrier"] < ended["broadcast"]


def test_only_new_entries_are_told(world, history, epochs):
    for _ in range(3):
        dist.all_reduce(torch.ones(2))
    first, *rest = told(history, epochs)
    assert told(history, epochs, after=first["id"]) == rest
    assert told(history, epochs, after=rest[-1]["id"]) == []


def test_the_recorder_is_not_read_where_nothing_has_changed(world, history, epochs, monkeypatch):
    dist.all_reduce(torch.ones(2))
    told(history, epochs)
    mark = history.tell(epochs, -1).mark
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "entries", lambda _: pytest.fail("it was asked"))
        answer = history.tell(epochs, -1, mark)
        only_the_time = history.tell(epochs, None)
        for said in (answer, only_the_time):
            assert said == Recording(said.now, said.took)
            assert 0 <= said.took < 1
            assert abs(said.now - time.time()) < 5
    dist.barrier()
    assert history.tell(epochs, -1, mark).mark != mark


def test_before_the_first_group_there_are_no_entries(history):
    answer = history.tell([], -1)
    assert answer.entries == ()


def test_entries_belong_to_the_generation_in_which_they_were_called(history):
    before = time.time_ns()
    seen = []
    epochs = []
    for generation in (1, 2):
        epochs.append(Epoch(time.time_ns(), generation, generation - 1))
        join()
        dist.barrier()
        dist.destroy_process_group()
        seen.append(generation)
    groups = [one["group"] for one in told(history, epochs)]
    assert [(group.name, group.generation, group.rank) for group in groups] == [
        ("0", 1, 0),
        ("0", 2, 1),
    ]
    # What was called before all of them is nobody's.
    assert told(history, [Epoch(time.time_ns(), 3, 0)]) == []
    assert len(told(history, [Epoch(before, 1, 0)])) == 2


def test_a_group_that_a_cell_has_re_created_is_another_group(history, epochs):
    for _ in range(2):
        join()
        dist.barrier()
        dist.all_reduce(torch.ones(1))
        dist.destroy_process_group()
    known = told(history, epochs)
    assert [(one["group"].name, one["seq"]) for one in known] == [
        ("0", 1),
        ("0", 2),
        ("0 (2)", 1),
        ("0 (2)", 2),
    ]
    # The same when it is asked again, and when the first of them are not told any more.
    assert told(history, epochs, after=known[2]["id"]) == known[3:]


def test_the_ranks_of_a_destroyed_group_are_known_if_it_was_seen(world, history, epochs):
    group = dist.new_group([0])
    dist.barrier(group)
    [one] = told(history, epochs)
    dist.destroy_process_group(group)
    [again] = told(history, epochs)
    assert one["group"] == again["group"] == EntryGroup(str(group.group_name), (0,), 7, 3)


def test_the_ranks_of_a_group_are_forgotten_with_its_last_collective(world, history, epochs):
    for _ in range(3):
        group = dist.new_group([0])
        dist.barrier(group)
        history.tell(epochs, -1)
        dist.destroy_process_group(group)
    history.tell(epochs, -1)
    assert len(history._members) == 4
    for _ in range(2500):  # more than the recorder keeps
        dist.barrier()
    history.tell(epochs, -1)
    assert len(history._members) == 1


# -- made-up entries -------------------------------------------------------------------------


def entry(number, created, thread=1, backend="gloo", **facts):
    return {
        "record_id": number,
        "profiling_name": f"{backend}:all_reduce",
        "thread_id": str(thread),
        "time_created_ns": created,
        "time_discovered_started_ns": None,
        "time_discovered_completed_ns": None,
        **facts,
    }


def wait(begun, ended, *, thread=1, failed=False):
    return begun, wait.__code__, thread, ended, failed


ENTRIES = [entry(0, 10), entry(1, 20), entry(2, 30), entry(3, 25, thread=2)]


@pytest.mark.parametrize(
    ("waits", "ends"),
    [
        ([wait(11, 19), wait(21, 29, failed=True)], {0: (19, False), 1: (29, True)}),
        ([wait(31, 40)], {2: (40, False)}),  # the two before were not waited for
        ([wait(31, 40), wait(41, 50)], {2: (40, False)}),  # the second was for something else
        ([wait(31, 40, thread=2)], {3: (40, False)}),
        ([wait(5, 40), wait(31, 40, thread=9)], {}),
    ],
)
def test_a_wait_is_for_the_newest_collective_of_its_thread(waits, ends):
    assert history_module._ends(ENTRIES, waits, {}) == (ends, set())


def test_a_collective_that_is_still_waited_for_is_not_done():
    assert history_module._ends(ENTRIES, [], {1: 31, 2: 20, 9: 99}) == ({}, {2})
    # Its end was noted in the moment between.
    ends = {2: (40, False)}
    assert history_module._ends(ENTRIES, [wait(31, 40)], {1: 31}) == (ends, set())


def test_a_wait_for_nccl_does_not_say_when_the_collective_ended():
    entries = [entry(0, 10, backend="nccl")]
    assert history_module._ends(entries, [wait(11, 19)], {1: 11}) == ({}, set())


@pytest.mark.parametrize(
    ("facts", "ended"),
    [
        ({}, None),
        ({"time_discovered_completed_ns": 9_000_000}, 9_000_000),
        (
            {
                "time_discovered_completed_ns": 9_000_000,
                "time_discovered_started_ns": 1_000_000,
                "duration_ms": 2.0,
            },
            3_000_000,
        ),
        (
            {
                "time_discovered_completed_ns": 9_000_000,
                "time_discovered_started_ns": 8_000_000,
                "duration_ms": 2.0,
            },
            9_000_000,
        ),
        ({"time_discovered_completed_ns": 9_000_000, "duration_ms": 2.0}, 9_000_000),
    ],
)
def test_the_end_of_a_collective_by_the_recorder_s_own_account(facts, ended):
    assert history_module._ended(entry(0, 10, backend="nccl", **facts)) == ended


@pytest.mark.parametrize(
    ("sizes", "dtypes", "nbytes"),
    [
        ([[2, 3]], ["Float"], 24),
        ([[2], [3]], ["Half", "Long"], 28),
        ([[]], ["Double"], 8),
        ([], [], 0),
        ([[5]], ["Unheard"], 0),
    ],
)
def test_the_bytes_of_an_entry_are_those_of_its_tensors(sizes, dtypes, nbytes):
    assert history_module._nbytes({"input_sizes": sizes, "input_dtypes": dtypes}) == nbytes
