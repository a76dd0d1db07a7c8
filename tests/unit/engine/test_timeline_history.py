"""What a rank answers for the timeline: torch's own recorder in a world of one, made-up dumps."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from processes import let_pass, wait_until
from steps import SOON

from rankbook import calls
from rankbook.engine.group.nccl import Streams
from rankbook.engine.looking import history as history_module
from rankbook.engine.looking.history import Epoch, History
from rankbook.models import Recording, load, to_dict
from rankbook.models.recorded import EntryGroup

MOMENT = timedelta(seconds=0.3)


def join():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=MOMENT)


@pytest.fixture
def world():
    join()
    yield
    dist.destroy_process_group()


@pytest.fixture
def ledger():
    """An account that is told of everything."""
    ledger = calls.Ledger()
    calls.install(ledger)
    yield ledger
    calls.remove()


@pytest.fixture
def history(ledger):
    return History(ledger, Streams(dump=None))


@pytest.fixture
def epochs(ledger):
    """One group, which begins now, as rank 3 of generation 7."""
    ledger.generation = 7
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
        entry._asdict()
        | {
            "op": answer.ops[entry.op],
            "group": answer.groups[entry.group],
            "where": answer.places[entry.where],
        }
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
    line = test_a_blocking_collective_has_its_times.__code__.co_firstlineno + 2
    assert one["where"].startswith(f"test_timeline_history.py:{line} in test_a_blocking")


def test_an_asynchronous_collective_has_its_end_when_it_is_seen_to_be_done(world, history, epochs):
    handle = dist.all_reduce(torch.ones(2), async_op=True)
    [seen] = told(history, epochs)
    let_pass(0.05)  # the user computes
    before = time.time()
    handle.wait()
    [again] = told(history, epochs)
    assert seen["created"] <= seen["ended"] == again["ended"] <= before


def test_send_and_recv_have_bars_between_their_two_ends(world, history, epochs):
    with pytest.raises(RuntimeError):
        dist.recv(torch.ones(2), tag=5)
    [one] = told(history, epochs)
    assert (one["op"], one["seq"], one["failed"]) == ("recv", 1, True)
    assert one["group"] == EntryGroup("0: any→3 tag 5", (3,), 7, 3)
    assert one["ended"] - one["created"] > 0.2


def test_calls_of_each_thread_end_when_they_do(world, history, epochs):
    thread = threading.Thread(target=dist.barrier)
    thread.start()
    thread.join()
    dist.broadcast(torch.ones(1), src=0)
    ended = {one["op"]: one["ended"] for one in told(history, epochs)}
    assert ended["barrier"] < ended["broadcast"]


def test_only_new_entries_are_reported(world, history, epochs):
    for _ in range(3):
        dist.all_reduce(torch.ones(2))
    first, *rest = told(history, epochs)
    assert told(history, epochs, after=first["id"]) == rest
    assert told(history, epochs, after=rest[-1]["id"]) == []


def test_calls_are_not_read_where_nothing_has_changed(world, history, epochs, monkeypatch):
    dist.all_reduce(torch.ones(2))
    told(history, epochs)
    mark = history.tell(epochs, -1).mark
    with monkeypatch.context() as patch:
        patch.setattr(calls.Ledger, "since", lambda *_: pytest.fail("it was asked"))
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


def test_entries_belong_to_the_generation_in_which_they_were_called(ledger, history):
    seen = []
    epochs = []
    for generation in (1, 2):
        epochs.append(Epoch(time.time_ns(), generation, generation - 1))
        ledger.generation = generation
        join()
        dist.barrier()
        dist.destroy_process_group()
        seen.append(generation)
    groups = [one["group"] for one in told(history, epochs)]
    assert [(group.name, group.generation, group.rank) for group in groups] == [
        ("0", 1, 0),
        ("0", 2, 1),
    ]
    # What was called under none of them is left out.
    assert told(history, [Epoch(time.time_ns(), 3, 0)]) == []
    assert len(told(history, [Epoch(0, 1, 0)])) == 1


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


def test_the_ranks_of_a_destroyed_group_are_known(world, history, epochs):
    group = dist.new_group([0])
    dist.barrier(group)
    name = str(group.group_name)
    dist.destroy_process_group(group)
    [one] = told(history, epochs)
    assert one["group"] == EntryGroup(name, (0,), 7, 3)


def test_of_more_calls_than_are_kept_it_is_said_how_many_are_missing(world, history, epochs):
    dist.barrier()
    [one] = told(history, epochs)
    for _ in range(5000):
        dist.barrier()
    answer = history.tell(epochs, one["id"])
    assert len(answer.entries) == 4096
    assert answer.first == answer.entries[0].id == one["id"] + 5000 - 4096 + 1


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
