"""What is read of NCCL's recorder, in the form in which torch 2.11 with NCCL 2.28.9 wrote it."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist
import torch.distributed.distributed_c10d as c10d
from processes import wait_until
from steps import SOON

from rankbook.calls import Ledger
from rankbook.engine.group.nccl import Aborts, OpenSince, Streams
from rankbook.engine.looking import frames
from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.look import Observer
from rankbook.engine.looking.recorder import Recorder


def entry(number, name="all_reduce", state="completed", *, retired=False):
    return {
        "record_id": number,
        "pg_id": 0,
        "process_group": ("0", "default_pg"),
        "collective_seq_id": number + 1,
        "p2p_seq_id": 0,
        "op_id": number + 1,
        "profiling_name": f"nccl:{name}",
        "time_created_ns": 1_795_806_566_000_000_000 + 10 * number,
        "input_sizes": ((4,),),
        "input_dtypes": ("Float",),
        "output_sizes": ((4,),),
        "output_dtypes": ("Float",),
        "state": state,
        "time_discovered_started_ns": None,
        "time_discovered_completed_ns": None,
        "retired": retired,
        "timeout_ms": 60_000,
        "is_p2p": False,
    }


def p2p(number, title, *, batch, done=False):
    """A send or a receive, or a batch of them, by the number of the batch."""
    state = "completed" if done else "scheduled"
    return entry(number, title, state) | {"is_p2p": True, "p2p_seq_id": batch}


class Card:
    """What NCCL has been asked for, and has done."""

    def __init__(self):
        self.entries = []
        self.enqueued = self.completed = 0

    def call(self, name="all_reduce", *, completes=True):
        state = "completed" if completes else "scheduled"
        self.entries.append(entry(self.enqueued, name, state))
        self.enqueued += 1
        self.completed += completes

    def dump(self, *, includeCollectives, includeStackTraces, onlyActive):  # noqa: N803
        assert not includeStackTraces
        assert not onlyActive
        status = {
            "last_enqueued_collective": self.enqueued or -1,
            "last_started_collective": -1,
            "last_completed_collective": self.completed or -1,
        }
        dump = {"pg_status": {"0": status}}
        return pickle.dumps(dump | ({"entries": self.entries} if includeCollectives else {}))


@pytest.fixture
def card():
    return Card()


@pytest.fixture
def streams(card):
    return Streams(card.dump, lambda: True)


@pytest.fixture
def at(monkeypatch):
    """Sets where the main thread stands, as far as its frames tell."""

    def stand(**facts):
        monkeypatch.setattr(frames, "position", lambda: Position(**facts))

    return stand


def recorder_of(streams, *entries):
    """Reads NCCL's recorder, and torch's own, which has kept some calls."""
    return Recorder(streams, lambda **_: pickle.dumps({"entries": [*entries]}))


@pytest.fixture
def observer(streams):
    return Observer(Ledger(), recorder_of(streams), lambda group: None, streams)


# -- what NCCL has not completed -------------------------------------------------------------


def test_a_call_is_open_until_its_stream_has_completed_it(streams, card):
    assert streams.open_calls() == ()
    card.call()
    assert streams.open_calls() == ()
    card.call(completes=False)
    assert streams.open_calls() == (("0", 2, 1),)


def test_a_call_is_open_though_a_send_with_a_higher_number_has_completed(streams, card):
    """Sends and receives are counted apart, and noted in the same place."""
    card.enqueued, card.completed = 4, 7
    assert streams.open_calls() == (("0", 4, 7),)


def test_open_nccl_calls_of_former_groups_are_left_out_until_something_changes(streams, card):
    card.call(completes=False)
    streams.dismiss(streams.open_calls())
    assert streams.open_calls() == ()
    card.call(completes=False)
    assert streams.open_calls() == (("0", 2, -1),)


@pytest.mark.parametrize(
    "unused", [Streams(None, lambda: True), Streams(Card().dump, lambda: False)]
)
def test_without_nccl_nothing_is_open_and_nothing_is_read(unused):
    assert not unused.are_used
    assert unused.open_calls() == ()
    assert unused.entries() == []


def test_a_completed_call_is_done_before_nccl_retires_it(streams, card):
    card.call()
    card.call(completes=False)
    assert [one["retired"] for one in streams.entries()] == [True, False]


@pytest.mark.parametrize(
    ("theirs", "public"),
    [
        ("_all_gather_base", "all_gather_into_tensor"),
        ("_reduce_scatter_base", "reduce_scatter_tensor"),
        ("all_reduce_barrier", "barrier"),
        ("all_reduce", "all_reduce"),
    ],
)
def test_calls_have_the_names_of_public_functions(streams, card, theirs, public):
    card.call(theirs)
    assert streams.entries()[0]["profiling_name"] == f"nccl:{public}"


def test_the_mark_differs_when_a_call_is_enqueued_and_when_it_completes(streams, card):
    marks = [streams.mark()]
    card.call(completes=False)
    marks.append(streams.mark())
    card.completed = card.enqueued
    marks.append(streams.mark())
    assert len(set(marks)) == 3


def test_calls_of_both_recorders_stand_in_the_order_of_their_time(streams, card):
    theirs = entry(0, "broadcast") | {"time_created_ns": 1_795_806_566_000_000_005}
    card.call()
    card.call()
    entries = recorder_of(streams, theirs).entries()
    assert [one["record_id"] for one in entries] == [0, 1, 2]
    assert [one["profiling_name"] for one in entries] == [
        "nccl:all_reduce",
        "nccl:broadcast",
        "nccl:all_reduce",
    ]


# -- what is said of a rank ------------------------------------------------------------------


def test_a_rank_inside_torch_waits_in_the_oldest_open_call_and_stands_still(observer, card, at):
    for completes in (True, False, False):
        card.call(completes=completes)
    at(line="line 3: dist.barrier()", in_torch=True, mark=((1, 1),))
    looks = []

    def stands_still():
        looks.append(observer.look("run", 7, 0, closely=True))
        return looks[-1].still > 0.25

    wait_until(stands_still, SOON)
    assert (looks[-1].state, looks[-1].waiting.op, looks[-1].waiting.seq) == (
        "waiting",
        "all_reduce",
        2,
    )


def test_the_wait_of_a_rank_that_may_compute_may_end_by_itself(observer, card, at):
    """``.item()`` and a long computation of NumPy's look the same from outside."""
    card.call(completes=False)
    at(line="line 3: x.item()", mark=((1, 1),))
    wait_until(lambda: observer.look("run", 7, 0, closely=True).state == "waiting", SOON)
    for _ in range(3):
        look = observer.look("run", 7, 0, closely=True)
        assert (look.state, look.waiting.seq, look.may_end) == ("waiting", 1, True)


def test_a_rank_whose_calls_complete_runs_and_its_recorder_is_left_alone(
    observer, card, at, monkeypatch
):
    monkeypatch.setattr(Streams, "entries", lambda _: pytest.fail("the recorder was read"))
    at(line="line 3: train()", mark=((1, 1),))
    card.call(completes=False)
    for _ in range(20):
        card.call(completes=False)
        card.completed += 1
        assert observer.look("run", 7, 0, closely=True).state == "running"


def test_a_cell_may_leave_a_call_on_its_stream_for_a_moment(observer, card, at):
    card.call(completes=False)
    at(in_loop=True)
    assert observer.look("", None, 0, closely=True).state == "idle"


def test_a_collective_left_on_a_stream_by_an_ended_cell_is_reported(
    observer, card, at, monkeypatch
):
    card.call(completes=False)
    at(in_loop=True)
    monkeypatch.setattr("rankbook.engine.looking.look._LEFT_BEHIND", 0.02)
    wait_until(lambda: observer.look("", None, 0, closely=True).state == "waiting", SOON)
    look = observer.look("", None, 0, closely=True)
    assert look.line == "its cell has ended; a collective is left on its stream"
    assert look.may_end
    card.completed, card.entries[0]["state"] = 1, "completed"
    assert observer.look("", None, 0, closely=True).state == "idle"


def test_a_call_that_an_abort_has_ended_does_not_hide_what_the_rank_does_now(
    observer, card, at, monkeypatch
):
    """torch counts the calls of groups that are gone as if they were still open."""
    card.call(completes=False)
    began = card.entries[-1]["time_created_ns"] + 1
    at(line="line 3: store.wait()", in_torch=True, call="monitored_barrier", mark=((1, 1),))

    def waits():
        with ThreadPoolExecutor(1) as aside:  # meanwhile this one, the main thread, stands still
            look = aside.submit(observer.look, "run", 7, began, closely=True).result()
        return look.state == "waiting" and look.waiting.op == "monitored_barrier"

    reads, entries = [], Streams.entries
    monkeypatch.setattr(Streams, "entries", lambda its: reads.append(its) or entries(its))
    # A look that comes early does not read the recorder.
    wait_until(lambda: waits() and reads, SOON)
    read = len(reads)
    wait_until(waits, SOON)
    assert len(reads) == read


def test_a_rank_waits_in_a_receive_that_its_stream_has_not_completed(observer, card, at):
    card.entries = [
        p2p(0, "send 0->1", batch=1, done=True),
        p2p(1, "recv 0<-3", batch=2),
        p2p(2, "send 0->2", batch=3),
    ]
    card.enqueued, card.completed = 3, 1
    at(line="line 3: x.item()", mark=((1, 1),))
    wait_until(lambda: observer.look("run", 7, 0, closely=True).state == "waiting", SOON)
    waiting = observer.look("run", 7, 0, closely=True).waiting
    assert (waiting.op, waiting.peer, waiting.sizes) == ("recv", 3, ((4,),))


def test_of_a_batch_of_sends_and_receives_only_the_whole_is_known_to_have_completed(card, streams):
    card.entries = [
        p2p(0, "send 0->1", batch=1),
        p2p(1, "recv 0<-1", batch=1),
        p2p(2, "coalesced", batch=1, done=True),
        p2p(3, "send 0->1", batch=2),
        p2p(4, "recv 0<-1", batch=2),
        p2p(5, "coalesced", batch=2),
    ]
    recorder = recorder_of(streams)
    recorder.entries()
    assert [one["record_id"] for one in recorder.open_p2p] == [3, 4, 5]


def test_a_dashboard_is_not_told_of_what_an_idle_rank_has_on_its_stream(observer, card, at):
    card.call(completes=False)
    at(in_loop=True)
    assert observer.look("", None, 0, closely=False).state == "idle"


def test_the_time_of_an_open_call_begins_again_with_another_call_or_place():
    since = OpenSince()
    assert [since.seconds("a", now) for now in (1.0, 2.5)] == [0.0, 1.5]
    assert [since.seconds("b", now) for now in (3.0, 3.5)] == [0.0, 0.5]


# -- aborting --------------------------------------------------------------------------------


def test_a_second_abort_waits_for_the_first_and_leaving_the_group_does_too(monkeypatch):
    begun, go_on = [], threading.Event()

    def abort():
        begun.append(threading.current_thread())
        assert go_on.wait(SOON)

    monkeypatch.setattr(c10d, "_abort_process_group", abort)
    aborts = Aborts()
    aborts.wait()  # none is under way
    aborts.begin()
    wait_until(lambda: begun, SOON)
    aborts.begin()
    assert aborts.are_under_way
    threading.Timer(0.05, go_on.set).start()
    aborts.wait()
    assert not aborts.are_under_way
    assert len(begun) == 1
    aborts.begin()
    aborts.wait()
    assert len(begun) == 2


@pytest.mark.skipif(not dist.is_nccl_available(), reason="this torch has no NCCL")
def test_a_torch_with_nccl_has_its_recorder():
    assert Streams(is_backend=lambda: True).are_used
