"""What blocks announces itself, and nothing of that is seen: torch's own waits, one rank."""

from __future__ import annotations

import _thread
import datetime as dt
import sys
import threading
import time
import weakref
from types import FunctionType

import pytest
import torch
import torch.distributed as dist
from processes import wait_until
from steps import SOON

from rankbook import calls
from rankbook.engine.cells.tracebacks import hide
from rankbook.engine.looking import frames
from rankbook.errors import StaleGroupError

MAIN = threading.main_thread().ident
THEIRS = vars(dist.Work)["wait"]
OF_FUTURES = vars(torch._C.Future)["wait"]
STORE = dist.HashStore()


@pytest.fixture
def world():
    """A process group of one rank, in which nothing waits longer than a moment."""
    moment = dt.timedelta(seconds=0.3)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=moment)
    yield
    dist.destroy_process_group()


@pytest.fixture
def waits():
    ledger = calls.Ledger()
    calls.install(ledger)
    yield ledger
    calls.remove()


def receive():
    """Wait for what never comes."""
    with pytest.raises(RuntimeError):
        dist.recv(torch.ones(2))


def watched(wait, look):
    """Call ``wait`` in this thread again and again, until ``look`` in another one has seen it."""
    watcher = threading.Thread(target=lambda: wait_until(look, SOON))
    watcher.start()
    while watcher.is_alive():
        wait()
    watcher.join()


def test_a_handle_can_be_waited_for_in_every_way(world, waits):
    handle = dist.all_reduce(torch.ones(2), async_op=True)
    assert handle.wait() is True
    assert handle.wait(dt.timedelta(seconds=1)) is True
    assert dist.Work.wait(handle) is True
    assert waits.present_waits() == {}


def test_a_thread_started_with_wait_works(world, waits, monkeypatch):
    """There is no Python below: so it is with a thread that C++ has begun."""
    errors = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    wait = dist.all_reduce(torch.ones(2), async_op=True).wait
    is_there = weakref.ref(wait)
    _thread.start_new_thread(wait, ())
    del wait
    wait_until(lambda: errors or is_there() is None, SOON)
    assert errors == []


def test_a_timeout_of_a_wait_is_torch_s(world, waits):
    source = "def waits_for(work, timeout): work.wait(timeout)"
    torchs, ours = vars(dist.distributed_c10d), {}
    exec(source, ours)  # noqa: S102
    of_torch = FunctionType(ours["waits_for"].__code__, torchs)
    for wait in (ours["waits_for"], of_torch):
        with pytest.raises(RuntimeError, match="17ms"):
            wait(dist.irecv(torch.ones(2)), dt.timedelta(milliseconds=17))


def test_a_traceback_of_ipython_has_no_frame_of_ours(world, waits, shell):
    def shown():
        text = shell.InteractiveTB.structured_traceback(*sys.exc_info())
        return [line for line in text if ".py" in line]

    hide(shell.InteractiveTB)
    seen = {}
    for noting in (True, False):
        if not noting:
            calls.remove()
        try:
            try:
                dist.recv(torch.ones(2))
            except RuntimeError as error:
                raise ValueError from error
        except ValueError:
            seen[noting] = shown()
    assert seen[True] == seen[False]
    assert any("test_announced_waits.py" in line for line in seen[True])


def test_the_position_of_a_rank_that_waits_is_in_torch(world, waits):
    """The function that notes it is passed over."""
    seen = []

    def look():
        found = frames.position(), frames.stack()
        if found[0].awaits and frames.position().awaits:
            seen.append(found)
        return seen

    watched(receive, look)
    [(at, stack)] = seen
    assert (at.call, at.in_torch) == ("recv", True)
    assert "in recv\n" in stack[-1]


def test_removing_the_notes_of_waits_restores_torch_s_functions(waits):
    calls.remove()
    assert vars(dist.Work)["wait"] is THEIRS
    assert vars(torch._C.Future)["wait"] is OF_FUTURES


def test_a_wait_for_a_future_works(world, waits):
    future = dist.all_reduce(torch.ones(2), async_op=True).get_future()
    assert [its.tolist() for its in future.wait()] == [[1.0, 1.0]]
    assert future.then(lambda its: its.value()[0] + 1).wait().tolist() == [2.0, 2.0]
    own = torch.futures.Future()
    own.set_result(7)
    assert own.wait() == 7
    assert [its.wait() for its in torch.futures.collect_all([own, own]).wait()] == [7, 7]
    failed = torch.futures.Future()
    failed.set_exception(ValueError("no data"))
    with pytest.raises(ValueError, match="no data"):
        failed.wait()


def test_a_wait_for_a_future_is_announced(world, waits):
    future, seen = torch.futures.Future(), []

    def look():
        seen[:] = [(frames.position(), waits.present_waits(), frames.stack())]
        return seen[0][0].awaits

    def watch():
        wait_until(look, SOON)
        future.set_result(None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    future.wait()
    watcher.join()
    [(at, waiting, stack)] = seen
    assert (at.awaits, at.in_torch) == ("future", True)
    assert waiting[MAIN].kind == "future"
    assert waiting[MAIN].began <= time.time()
    assert "blocking.py" not in stack[-1]


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        (lambda: dist.monitored_barrier(timeout=dt.timedelta(seconds=7)), 7.0),
        (lambda: dist.group.WORLD.monitored_barrier(dt.timedelta(seconds=8)), 8.0),
        (lambda: STORE.wait(["a"], dt.timedelta(seconds=9)), 9.0),
        (lambda: dist.PrefixStore("x", STORE).wait(["a"], dt.timedelta(seconds=9)), 9.0),
        (lambda: STORE.get("a"), None),
    ],
    ids=["monitored_barrier", "its method", "a store", "a store with a prefix", "no timeout"],
)
def test_a_wait_says_its_own_timeout(world, waits, monkeypatch, wait, seconds):
    seen = []
    begin = waits.waits.begin

    def noted(*args, **kwargs):
        outer = begin(*args, **kwargs)
        seen.extend(waits.present_waits().values())
        return outer

    monkeypatch.setattr(waits.waits, "begin", noted)
    STORE.set("a", "1")
    STORE.set("x/a", "1")
    wait()
    assert [(its.timeout, its.may_end) for its in seen][:1] == [(seconds, seconds is not None)]


def test_a_store_that_is_being_opened_announces_what_it_waits_for():
    class Store:
        kind = calls.blocking.OPENING

        def wait(self, keys, timeout):
            [its] = ledger.present_waits().values()
            return its.kind, its.entries, its.timeout

    ledger = calls.Ledger()
    calls.install(ledger, [Store])
    try:
        told = Store().wait(["host:1"], dt.timedelta(minutes=5))
    finally:
        calls.remove()
    assert told == (calls.blocking.OPENING, ("host:1",), 300.0)


def test_a_receive_of_a_former_generation_that_nothing_would_wake_raises_at_once(world, waits):
    handle = dist.irecv(torch.ones(2))
    waits.handles.release()  # as when a group is left
    waits.generation += 1
    with pytest.raises(StaleGroupError, match="and was cut when that ended: call it again on all"):
        handle.wait()
