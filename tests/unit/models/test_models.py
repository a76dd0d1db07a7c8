from __future__ import annotations

import dataclasses
import json

import pytest

from rankbook import models
from rankbook.models import (
    CellOutcome,
    CellSpan,
    Collective,
    Diagnosis,
    EngineFacts,
    Failure,
    Gpu,
    GroupInfo,
    Look,
    Recorded,
    Recording,
    Snapshot,
    events,
    load,
    requests,
    to_dict,
)
from rankbook.models.calls import Slot
from rankbook.models.cells import Script
from rankbook.models.events import Asks, Clear, Display, Result, Stream
from rankbook.models.recorded import Entry, EntryGroup

INFO = GroupInfo("gloo", 1, 4, "cuda:1", is_main=False, local_rank=1, generation=3)
REDUCE = Collective(
    "all_reduce", "0", (0, 1), 5, ((2, 3), ()), ("float32", "int64"), 1, done=True, since=0.5
)
LOOK = Look(
    state="waiting",
    line="line 3: dist.all_reduce(x)",
    cell=9,
    waiting=REDUCE,
    recent=(Collective("barrier", seq=4), REDUCE),
    still=1.5,
    quiet=2.5,
    silent=2.25,
    raised="ValueError: no",
    ended="was killed by SIGKILL",
    last_words=("terminate called", "what(): no"),
    since=1.5,
    engine=7,
    info=INFO,
    host="a-host",
    pid=123,
    memory=10**12,
    memory_total=2 * 10**12,
    gpu_memory=2**33,
    gpu=Gpu("NVIDIA H100", 1, 80, 3),
    last_error="ValueError: no",
)
RECORDING = Recording(
    now=1e9,
    took=0.02,
    mark="0123",
    first=5,
    ops=("all_reduce", "barrier"),
    groups=(EntryGroup("0", (0, 1), 2, 1), EntryGroup("1", (), 2, 1)),
    places=("", "In [4] line 2"),
    entries=(
        Entry(7, 0, 0, 3, 1e9, 1e9 + 0.5, done=True, nbytes=400, failed=False, where=1),
        Entry(8, 1, 1, 1, 1e9, None, done=False, nbytes=0, failed=False),
    ),
)
EXAMPLES = [
    EngineFacts(0, "a", ("10.0.0.1", "10.0.1.1"), 12, ("GPU", "GPU"), "/home", (("torch", "2.8"),)),
    EngineFacts(0, "a", (), 12, ()),
    INFO,
    Failure("ValueError", "é\nsecond", ("line 1", "\x1b[31mline 2\x1b[0m"), 1e9),
    Failure("KeyboardInterrupt", "", freed=True, line="line 1: f()"),
    REDUCE,
    Collective("wait"),
    LOOK,
    Look("idle"),
    Look("gone", engine=0),
    Snapshot("gloo", 4, 3, "running", (LOOK, Look("idle", engine=1)), "cluster-1"),
    Snapshot("", 0, 0, ""),
    Gpu("NVIDIA H100", 1, 80, 3),
    Look("idle", engine=0, info=INFO, gpu=Gpu("NVIDIA H100", 1, 80)),
    Recorded(7, "all_reduce", "0", (0, 1), 3, 2, 1e9, 1e9 + 0.5, done=True, nbytes=400),
    Recorded(7, "all_reduce", "0", (0, 1), 3, 2, 1e9, 1e9 + 8, done=True, failed=True),
    Recorded(7, "barrier", "0", (), 3, 2, 1e9),
    RECORDING,
    Recording(1e9, 0.001),
    CellSpan(4, "x = 1", 1e9, 1e9 + 1),
    CellOutcome(Failure("ValueError", "no"), 2.5),
    CellOutcome(),
]
ASKED = [
    requests.Copy((2,), ("x",), with_shards=True),
    requests.Destroy(),
    requests.EndFormer(),
    requests.EndScript(),
    requests.Follow("/home/me", ("/home/me/lib",)),
    requests.ForgetError(),
    requests.Free(cut=True),
    requests.HostStore("10.0.0.1"),
    requests.Initialize("gloo", 1.5, "file:///store", 2, 0, 4, 0, 2, "10.0.0.1", check=True),
    requests.LookAt(),
    requests.LookAt(closely=True),
    requests.Pull("x"),
    requests.Push(("x", "y")),
    requests.Reach("tcp://10.0.0.1:1234"),
    requests.ReadLastCalls("/dev/shm/rankbook-0/x-1.calls"),  # noqa: S108
    requests.Run("x = 1", 3),
    requests.Run("%dist_run a.py", 3, script=Script("a.py", ("-v",), variables={"RANK": "0"})),
    requests.GetDigests(("x", "y")),
    requests.Acknowledge(100_000),
    requests.Answer(4, "p x"),
    requests.Complete("x.w", 3),
    requests.Inspect("x", 1),
    requests.ListVariables(),
    requests.Understands("x"),
    requests.Fingerprint("model"),
    requests.Chunks("0.weight"),
    requests.SendChunks("0.weight", (0, 3)),
    requests.Drop(),
    requests.GetEnvironment(),
    requests.StartProfile(),
    requests.TakeProfile(),
    requests.GetFacts("10.0.0.1"),
    requests.GetHoldings(),
    requests.GetUnfinished(was_interrupted=True),
    requests.GetKept(),
    requests.GetMesh("mesh"),
    requests.GetFrames(),
    requests.GetStacks(),
    requests.Show("x"),
    requests.GetCall(Slot("0", (0, 1), 2, 7)),
    requests.GetMaking(Slot("groups 0", (0, 1), 2, 1)),
    requests.Settle(),
    requests.Take(0, ("x",), {"def f(): ...": "In [3]"}, {"pairs": ("1", "2")}),
    requests.GetTimeline(None),
    requests.GetTimeline(7, "mark"),
]
SAID = [
    Stream("stdout", "text"),
    Result({"text/plain": "1"}, {"a": 1}),
    Display({"text/plain": "1"}),
    Display({"text/plain": "1"}, {"a": 1}, "name", update=True),
    Clear(),
    Asks(3, "debugger", "", "In [7] line 4"),
]

# A verdict is made in the notebook and leaves it no more.
STAYS_HERE = {Diagnosis}


def over_the_wire(value):
    return json.loads(json.dumps(to_dict(value)))


@pytest.mark.parametrize("value", EXAMPLES + ASKED, ids=lambda v: type(v).__name__)
def test_a_model_survives_json(value):
    back = load(type(value), over_the_wire(value))
    assert back == value


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda v: type(v).__name__)
def test_a_loaded_model_is_hashable(value):
    back = load(type(value), over_the_wire(value))
    assert hash(back) == hash(value)


@pytest.mark.parametrize("value", EXAMPLES, ids=lambda v: type(v).__name__)
def test_a_model_ignores_fields_of_a_newer_version(value):
    data = over_the_wire(value) | {"invented_later": [1, {"a": 2}]}
    assert load(type(value), data) == value


def test_nested_fields_of_a_newer_version_are_left_out():
    data = over_the_wire(LOOK)
    for inner in (data["info"], data["waiting"], *data["recent"]):
        inner["invented_later"] = True
    assert load(Look, data) == LOOK


def test_a_model_takes_defaults_for_fields_that_an_older_version_does_not_send():
    assert load(Look, {"engine": 1, "state": "idle"}) == Look("idle", engine=1)
    assert load(Look, {"state": "idle"}) == Look("idle")
    assert load(Look, {"state": "waiting", "waiting": {"op": "recv"}}) == Look(
        "waiting", waiting=Collective("recv")
    )


def test_two_verdicts_share_no_per_rank_phrases():
    first, second = (Diagnosis("idle", (), "Every rank is idle.") for _ in range(2))
    first.per_rank[0] = "idle"
    assert second.per_rank == {}


def test_every_model_is_frozen_and_has_an_example():
    public = [getattr(models, name) for name in models.__all__]
    classes = {value for value in public if isinstance(value, type)}
    assert classes == {type(value) for value in EXAMPLES} | STAYS_HERE
    for cls in classes:
        assert dataclasses.is_dataclass(cls)
        assert cls.__dataclass_params__.frozen


def test_every_request_has_an_example():
    asked = {getattr(requests, name) for name in requests.__all__}
    asked = {cls for cls in asked if issubclass(cls, requests.Request)} - {requests.Request}
    assert asked == {type(value) for value in ASKED}


@pytest.mark.parametrize("event", SAID, ids=lambda v: type(v).__name__)
def test_an_event_survives_json_as_a_row(event):
    row = json.loads(json.dumps(events.to_row(event)))
    assert row[0] == event.kind
    assert events.from_row(row) == event


def test_an_event_of_a_flood_takes_little_more_than_its_text():
    assert json.dumps(events.to_row(Stream("stdout", ""))) == '["stream", "stdout", ""]'


def test_an_entry_of_a_recording_travels_as_a_row_and_is_loaded_by_name():
    first = over_the_wire(RECORDING)["entries"][0]
    assert first == [7, 0, 0, 3, 1e9, 1e9 + 0.5, True, 400, False, 1]
    back = load(Recording, over_the_wire(RECORDING))
    assert [entry.seq for entry in back.entries] == [3, 1]
    assert [back.recorded(entry, ahead=2.0) for entry in back.entries] == [
        Recorded(
            *(7, "all_reduce", "0", (0, 1), 3, 2, 1e9 - 2, 1e9 - 1.5),
            done=True,
            nbytes=400,
            where="In [4] line 2",
        ),
        Recorded(8, "barrier", "1", (), 1, 2, 1e9 - 2),
    ]


@pytest.mark.parametrize("request_type", requests.Request.__subclasses__())
def test_every_request_names_an_operation_of_its_own(request_type):
    names = [each.op for each in requests.Request.__subclasses__()]
    assert names.count(request_type.op) == 1


def test_a_diagnosis_inside_a_snapshot_survives_json():
    verdict = Diagnosis("slow", (2,), "Rank 2 is late.", {2: "computes", 10: "waits"}, (10,))
    snapshot = Snapshot("gloo", 11, 1, "", (LOOK,), verdict=verdict)
    assert load(Snapshot, json.loads(json.dumps(to_dict(snapshot)))) == snapshot
