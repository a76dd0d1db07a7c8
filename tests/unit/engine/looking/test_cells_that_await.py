"""A cell that awaits: what can wake it, and where it stands."""

from __future__ import annotations

import asyncio
import linecache
import socket
import threading
from contextlib import contextmanager

import pytest

from rankbook.cellnames import file_of
from rankbook.engine.cells.between import Between
from rankbook.engine.looking.coroutines import Coroutine

CELL = """
async def cell(act):
    await act()
async def inner(gate):
    await asyncio.to_thread(gate.wait)
async def outer(gate):
    await inner(gate)
"""


@pytest.fixture
def code():
    """What a cell has defined."""
    name = file_of("In [7]")
    linecache.cache[name] = len(CELL), None, CELL.splitlines(keepends=True), name
    scope = {"asyncio": asyncio}
    exec(compile(CELL, name, "exec"), scope)  # noqa: S102
    yield scope
    del linecache.cache[name]


@pytest.fixture
def gate():
    """What a thread waits for until the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def seen(code, gate):
    """Runs a cell beside what the engine itself has in its loop, and looks at it."""

    def look(act, threads=()):
        told = []

        async def engine():
            other = asyncio.create_task(asyncio.sleep(600))
            with Between.cell("In [7]"):
                task = asyncio.ensure_future(code["cell"](act))
            coroutine = Coroutine(lambda: task, lambda: threads)
            for _ in range(5):  # until it stands where it awaits
                await asyncio.sleep(0)
            told.extend([coroutine.waits_for(()), coroutine.line()])
            gate.set()
            for each in (task, other):
                each.cancel()
            await asyncio.gather(task, other, return_exceptions=True)

        asyncio.run(engine())
        return told

    return look


@contextmanager
def running(target):
    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


def test_a_cell_that_awaits_a_thread_is_woken_by_nothing_else(seen, code, gate):
    assert seen(lambda: code["outer"](gate)) == [
        True,
        "In [7] line 5: await asyncio.to_thread(gate.wait)",
    ]


def test_a_cell_that_awaits_an_event_is_woken_by_nothing_else(seen):
    certain, line = seen(lambda: asyncio.Event().wait())
    assert certain
    assert line == "In [7] line 3: await act()"


def test_a_timer_may_wake_a_cell(seen):
    assert seen(lambda: asyncio.sleep(600))[0] is False


async def within(seconds, gate):
    await asyncio.wait_for(asyncio.to_thread(gate.wait), seconds)


async def at_most(seconds, gate):
    await asyncio.wait([asyncio.create_task(asyncio.to_thread(gate.wait))], timeout=seconds)


@pytest.mark.parametrize("act", [within, at_most])
@pytest.mark.parametrize(("seconds", "is_certain"), [(50, False), (600, True)])
def test_a_timeout_wakes_a_cell_if_it_comes_soon(seen, gate, act, seconds, is_certain):
    assert seen(lambda: act(seconds, gate))[0] is is_certain


def test_a_task_that_a_cell_has_made_may_wake_it(seen):
    async def act():
        asyncio.get_running_loop().call_later(600, print)
        await asyncio.Event().wait()

    assert seen(act)[0] is False


def test_a_socket_may_wake_a_cell(seen):
    one, other = socket.socketpair()
    one.setblocking(False)  # noqa: FBT003
    with one, other:
        assert seen(lambda: asyncio.get_running_loop().sock_recv(one, 1))[0] is False


def test_a_process_may_wake_a_cell(seen, gate):
    """Also where a thread of asyncio's waits for its end."""

    async def act():
        process = await asyncio.create_subprocess_exec("sleep", "600")
        try:
            await process.wait()
        finally:
            process.kill()
            await process.wait()

    threads = _Threads()
    assert seen(act, threads)[0] is False


class _Threads:
    """The threads that began after this was made."""

    def __init__(self):
        self._before = set(threading.enumerate())

    def __iter__(self):
        return iter(set(threading.enumerate()) - self._before)


def test_a_thread_that_runs_may_wake_a_cell(seen):
    stop = []

    def work():
        while not stop:
            pass

    with running(work) as thread:
        try:
            assert seen(lambda: asyncio.Event().wait(), [thread])[0] is False
        finally:
            stop.append(True)


def test_a_cell_that_does_not_await_has_no_line(seen):
    assert (Coroutine().waits_for(()), Coroutine().line()) == (False, "")


def test_threads_that_cells_have_begun_are_told_from_others(gate):
    between = Between()
    between.begun()
    with running(gate.wait) as thread:
        assert between.threads() == [thread]
        gate.set()
