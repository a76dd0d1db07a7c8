"""Noting when blocking collectives return: torch's own ones in a world of one rank."""

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

from rankbook.engine import frames
from rankbook.engine.frames import Position
from rankbook.engine.stillness import Movement
from rankbook.engine.waits import Waits, hide, is_ours

MAIN = threading.main_thread().ident
THEIRS = vars(dist.Work)["wait"]
OF_FUTURES = vars(torch._C.Future)["wait"]


@pytest.fixture
def world():
    """A process group of one rank, in which nothing waits longer than a moment."""
    moment = dt.timedelta(seconds=0.3)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=moment)
    yield
    dist.destroy_process_group()


@pytest.fixture
def waits():
    noting = Waits()
    noting.install()
    yield noting
    noting.remove()


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


def test_a_blocking_collective_is_noted(world, waits):
    before = time.time_ns()
    dist.all_reduce(torch.ones(2))
    [(begun, _, thread, ended, failed)] = waits.ended()
    assert before <= begun <= ended <= time.time_ns()
    assert (thread, failed) == (MAIN, False)
    assert waits.last() == waits.ended()[-1]
    assert waits.waiting() == {}


def test_a_blocking_collective_in_another_thread_is_noted(world, waits):
    threads = [threading.Thread(target=dist.all_reduce, args=[torch.ones(2)]) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len(waits.ended()) == 2
    assert MAIN not in {thread for _, _, thread, *_ in waits.ended()}


def test_a_wait_for_a_handle_works_and_is_not_noted(world, waits):
    handle = dist.all_reduce(torch.ones(2), async_op=True)
    assert handle.wait() is True
    assert handle.wait(dt.timedelta(seconds=1)) is True
    assert dist.Work.wait(handle) is True
    assert waits.ended() == []


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
    assert waits.last()[1].co_name == "waits_for"


def test_a_wait_for_a_call_that_is_not_recorded_is_left_out_when_it_has_ended(world, waits):
    receive()
    assert waits.last()[1].co_name == "recv"
    assert waits.ended() == []


def test_a_wait_for_a_call_that_is_not_recorded_is_left_out_while_it_lasts(world, waits):
    """Or what was called before would be taken to last."""
    seen = []

    def look():
        before = waits.since()
        waiting = waits.waiting()
        if before and waits.since() == before:
            seen.append(waiting)
        return seen

    watched(receive, look)
    assert seen == [{}]


def test_a_wait_that_raises_has_ended(world, waits):
    before = time.time_ns()
    receive()
    begun, _, thread, ended, failed = waits.last()
    assert before <= begun < ended <= time.time_ns()
    assert (thread, failed) == (MAIN, True)
    assert waits.waiting() == {}


def test_a_traceback_of_ipython_has_no_frame_of_ours(world, waits, shell):
    def shown():
        text = shell.InteractiveTB.structured_traceback(*sys.exc_info())
        return [line for line in text if "File " in line]

    hide(shell.InteractiveTB)
    seen = {}
    for noting in (True, False):
        if not noting:
            waits.remove()
        try:
            try:
                dist.recv(torch.ones(2))
            except RuntimeError as error:
                raise ValueError from error
        except ValueError:
            seen[noting] = shown()
    assert seen[True] == seen[False]
    assert len(seen[True]) > 3


def test_the_position_of_a_rank_that_waits_is_in_torch(world, waits):
    """The function that notes it is passed over."""
    seen = []

    def look():
        before = waits.since()
        found = frames.position(), frames.stack()
        if before and waits.since() == before:
            seen.append(found)
        return seen

    watched(receive, look)
    [(at, stack)] = seen
    assert (at.call, at.in_torch) == ("recv", True)
    assert "in recv\n" in stack[-1]


def test_only_the_latest_waits_are_kept(world, waits, monkeypatch):
    monkeypatch.setenv("TORCH_FR_BUFFER_SIZE", "3000")
    assert Waits()._noted.maxlen == 6000
    monkeypatch.setenv("TORCH_FR_BUFFER_SIZE", "many")
    assert Waits()._noted.maxlen == 4000


def test_of_two_installed_notes_of_waits_only_the_second_notes(world, waits):
    other = Waits()
    other.install()
    dist.all_reduce(torch.ones(2))
    assert (len(other.ended()), len(waits.ended())) == (1, 0)


def test_removing_the_notes_of_waits_restores_torch_s_functions(waits):
    waits.remove()
    assert vars(dist.Work)["wait"] is THEIRS
    assert vars(torch._C.Future)["wait"] is OF_FUTURES


def test_the_age_of_a_wait_is_counted_from_its_beginning(world, waits):
    movement = Movement()
    seen = []

    def look():
        before = waits.since()
        begin = time.time()
        its = movement.seen(Position(mark=((1, 2),))).here
        if before and waits.since() == before:
            began = before / 1e9
            seen.append((begin - began, its, time.time() - began))
        return seen and seen[-1][0] > 0.1

    watched(receive, look)
    assert all(least <= its <= most for least, its, most in seen)


def test_the_age_of_a_failed_wait_does_not_count_for_what_follows(world, waits):
    receive()
    assert Movement().seen(Position(mark=((1, 2),))).here < 0.2


def test_a_wait_for_a_handle_after_a_failed_wait_is_another_wait(world, waits):
    receive()
    seen = []

    def wait():
        with pytest.raises(RuntimeError):
            dist.irecv(torch.ones(2)).wait()

    def look():
        is_there = [is_ours(sys._current_frames()[MAIN].f_code) for _ in range(2)]
        if all(is_there):
            seen.append((waits.waiting(), waits.since()))
        return seen

    began = waits.last()[3]
    watched(wait, look)
    [(waiting, since)] = seen
    assert waiting == {}
    assert began < since <= time.time_ns()


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
        seen[:] = [(frames.position(), waits.since(), waits.waiting(), frames.stack())]
        return seen[0][0].awaits

    def watch():
        wait_until(look, SOON)
        future.set_result(None)

    watcher = threading.Thread(target=watch)
    watcher.start()
    future.wait()
    watcher.join()
    [(at, since, waiting, stack)] = seen
    assert (at.awaits, at.in_torch, waiting) == ("future", True, {})
    assert since <= time.time_ns()
    assert "waits.py" not in stack[-1]
