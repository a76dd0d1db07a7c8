"""Where the main thread stands, read from another one while it stands there."""

from __future__ import annotations

import asyncio
import collections
import functools
import linecache
import operator
import os
import selectors
import socket
import sys
import textwrap
import threading
import traceback
import types
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Queue

import pytest
from processes import wait_until
from steps import SOON

from rankbook.calls import Ledger, blocking
from rankbook.cellnames import file_of
from rankbook.engine.looking import frames, owners, traces

CELL = file_of("In [7]")
EARLIER = file_of("In [3]")
TORCH = f"{os.sep}site-packages{os.sep}torch{os.sep}"
DISTRIBUTED = f"{TORCH}distributed{os.sep}c10d.py"
MINE = f"{os.sep}home{os.sep}me{os.sep}model.py"


class Gate:
    """What code stands still at, inside C, until it has been looked at.

    Attributes:
        wait: Called from Python it leaves no frame, like what torch does in C++.
        open: Lets the code that waits go on.
    """

    def __init__(self):
        self._arrived, self._opened = threading.Lock(), threading.Lock()
        self._arrived.acquire()
        self._opened.acquire()
        steps = map(
            operator.methodcaller("__call__"), [self._arrived.release, self._opened.acquire]
        )
        self.wait = functools.partial(collections.deque, steps)
        self.open = self._opened.release

    def reached(self):
        """Wait until somebody waits."""
        assert self._arrived.acquire(timeout=SOON)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def write(gate, monkeypatch):
    """Makes functions out of source, as if it stood in a file of that name."""
    names = {"gate": gate, "stop": gate.wait, "other": Gate()}

    def write_file(filename, source):
        source = textwrap.dedent(source)
        lines = source.splitlines(keepends=True)
        monkeypatch.setitem(linecache.cache, filename, (len(source), None, lines, filename))
        exec(compile(source, filename, "exec"), names)  # noqa: S102
        return types.SimpleNamespace(**names)

    return write_file


@pytest.fixture
def look(gate):
    """Looks from another thread, while the main one stands at the gate."""

    def look_at(call, see=frames.position):
        seen = []

        def watch():
            gate.reached()
            try:
                seen.append(see())
            finally:
                gate.open()

        watcher = threading.Thread(target=watch)
        watcher.start()
        call()
        watcher.join()
        return seen[0]

    return look_at


# -- in a cell -------------------------------------------------------------------------------


def test_a_position_has_the_line_of_the_cell(write, look):
    cell = write(CELL, "def cell():\n    x = 1\n    stop()\n")
    at = look(cell.cell)
    assert at.line == "In [7] line 3: stop()"
    assert (at.call, at.arguments) == ("", {})
    assert (at.in_torch, at.in_loop) == (False, False)


def test_a_line_without_known_source_is_given_by_its_number(write, look, monkeypatch):
    cell = write(CELL, "def cell():\n    stop()\n")
    monkeypatch.delitem(linecache.cache, CELL)
    assert look(cell.cell).line == "In [7] line 2"


def test_a_position_in_a_users_file_has_its_line_and_that_of_the_cell(write, look):
    write(MINE, "def train():\n    stop()\n")
    cell = write(CELL, "def cell():\n\n    train()\n")
    at = look(cell.cell)
    assert at.line == "model.py:2 in train, called from In [7] line 3: stop()"


@pytest.mark.parametrize("filename", [f"{TORCH}nn.py", "/x/site-packages/lib.py", "<generated>"])
def test_a_position_in_a_librarys_file_has_the_line_of_the_cell(write, look, filename):
    write(filename, "def fit():\n    stop()\n")
    cell = write(CELL, "def cell():\n\n    fit()\n")
    assert look(cell.cell).line == "In [7] line 3: fit()"


def test_a_main_thread_that_joins_another_is_in_a_lock(write, look, gate):
    def stop():
        thread = threading.Thread(target=gate.wait)
        thread.start()
        thread.join()

    cell = write(CELL, "def cell(stop):\n    stop()\n")
    at = look(lambda: cell.cell(stop))
    assert at.in_lock
    assert not at.in_torch


async def beside_a_timer(loop, future):
    timer = loop.call_later(600, print)
    await future
    timer.cancel()


@pytest.mark.parametrize(("seconds", "gives_up"), [(None, False), (50, True), (600, False)])
@pytest.mark.parametrize("form", ["join", "event", "future", "queue"])
def test_a_wait_for_a_thread_gives_up_if_its_timeout_comes_soon(
    monkeypatch, form, seconds, gives_up
):
    event, future, queue = threading.Event(), Future(), Queue()
    other = threading.Thread(target=event.wait)
    other.start()
    waits = {
        "join": lambda: other.join(seconds),
        "event": lambda: event.wait(seconds),
        "future": lambda: future.result(seconds),
        "queue": lambda: queue.get(timeout=seconds),
    }
    thread = threading.Thread(target=waits[form])
    thread.start()
    try:
        wait_until(lambda: stands_in(thread, "wait", "join", "_wait_for_tstate_lock"), SOON)
        monkeypatch.setattr(threading, "main_thread", lambda: thread)
        at = frames.position()
        assert (at.in_lock, at.gives_up) == (True, gives_up)
    finally:
        event.set()
        future.set_result(None)
        queue.put(None)
        thread.join()
        other.join()


@pytest.mark.parametrize(
    ("awaits", "in_lock"),
    [
        (lambda loop, work: loop.run_in_executor(None, work), True),
        (lambda loop, work: asyncio.wait_for(loop.run_in_executor(None, work), 600), True),
        (lambda loop, work: asyncio.wait_for(loop.run_in_executor(None, work), 50), False),
        (lambda loop, work: beside_a_timer(loop, loop.run_in_executor(None, work)), False),
    ],
    ids=["a thread", "a thread, for long", "a thread, for a while", "a thread, and a timer"],
)
def test_a_thread_whose_event_loop_awaits_a_thread_waits_for_it(write, gate, awaits, in_lock):
    loop = asyncio.new_event_loop()
    cell = write(CELL, "async def cell(awaits, loop, work):\n    await awaits(loop, work)\n")
    run = write(CELL, "def run(loop, coroutine):\n    loop.run_until_complete(coroutine)\n").run
    thread = threading.Thread(target=run, args=(loop, cell.cell(awaits, loop, gate.wait)))
    thread.start()
    gate.reached()
    try:
        wait_until(lambda: stands_in(thread, "select"), SOON)
        assert frames.user_threads()[thread.ident] is in_lock
    finally:
        gate.open()
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_a_thread_whose_event_loop_awaits_a_socket_does_not_wait_for_a_thread(write, gate):
    loop = asyncio.new_event_loop()
    one, other = socket.socketpair()
    one.setblocking(False)  # noqa: FBT003
    run = write(CELL, "def run(loop, coroutine):\n    loop.run_until_complete(coroutine)\n").run
    thread = threading.Thread(target=run, args=(loop, loop.sock_recv(one, 1)))
    thread.start()
    try:
        wait_until(lambda: stands_in(thread, "select"), SOON)
        assert frames.user_threads()[thread.ident] is False
    finally:
        other.send(b"x")
        thread.join()
        loop.close()
        one.close()
        other.close()


def stands_in(thread, *functions):
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code.co_name in functions


def test_a_working_executor_thread_counts_as_user_code_and_an_idle_one_does_not(gate):
    with ThreadPoolExecutor(2) as executor:
        known = set(frames.user_threads())
        executor.submit(threading.get_ident).result()
        at_work = executor.submit(gate.wait)
        gate.reached()
        try:
            [ident] = set(frames.user_threads()) - known
        finally:
            gate.open()
        at_work.result()
        wait_until(lambda: ident not in frames.user_threads(), SOON)


def test_a_position_in_a_function_of_an_earlier_cell_has_the_lines_of_both(write, look):
    write(EARLIER, "def step():\n    stop()\n")
    cell = write(CELL, "def cell():\n\n    step()\n")
    assert look(cell.cell).line == "In [3] line 2 in step, called from In [7] line 3: stop()"


def test_a_position_in_a_function_of_the_same_cell_has_the_innermost_line(write, look):
    cell = write(CELL, "def step():\n    stop()\n\ndef cell():\n    step()\n")
    assert look(cell.cell).line == "In [7] line 2: stop()"


def test_a_position_in_a_cell_of_another_client_names_no_cell(write, look):
    cell = write("<ipython-input-3-abc>", "def cell():\n    stop()\n")
    assert look(cell.cell).line == "a cell line 2: stop()"


def test_a_position_outside_of_a_cell_has_no_line(write, look):
    mine = write(MINE, "def work():\n    stop()\n")
    at = look(mine.work)
    assert at.line == ""
    assert not at.in_loop


# -- in torch.distributed --------------------------------------------------------------------


def test_a_position_has_the_call_of_torch_distributed_and_its_arguments(write, look):
    write(DISTRIBUTED, "def all_reduce(tensor, op='sum', group=None):\n    stop()\n")
    cell = write(CELL, "def cell():\n    all_reduce([1, 2], group='g')\n")
    at = look(cell.cell)
    assert (at.call, at.line) == ("all_reduce", "In [7] line 2: all_reduce([1, 2], group='g')")
    assert at.arguments == {"tensor": [1, 2], "op": "sum", "group": "g"}
    assert at.in_torch


def test_the_call_of_a_position_is_the_one_that_the_user_made(write, look):
    write(
        DISTRIBUTED,
        """
        def barrier():
            stop()

        def _check():
            barrier()

        def wrapper(call):
            _check()

        def new_group(ranks):
            wrapper(_check)
        """,
    )
    cell = write(CELL, "def cell():\n    new_group([0, 1])\n")
    at = look(cell.cell)
    assert at.call == "new_group"
    assert at.arguments == {"ranks": [0, 1]}


@pytest.mark.parametrize("name", ["_private", "wrapper", "inner"])
def test_private_functions_and_helpers_are_not_the_call_of_a_position(write, look, name):
    write(DISTRIBUTED, f"def {name}():\n    stop()\n")
    cell = write(CELL, f"def cell():\n    {name}()\n")
    at = look(cell.cell)
    assert at.call == ""
    assert at.in_torch


def test_a_position_in_python_that_torch_calls_is_not_in_c(write, look):
    """A DDP hook, say: what it does there is the user's own."""
    write(DISTRIBUTED, "def all_reduce(hook):\n    hook()\n")
    cell = write(CELL, "def cell(hook):\n    all_reduce(hook)\n")
    mine = write(MINE, "def hook():\n    stop()\n")
    at = look(lambda: cell.cell(mine.hook))
    assert at.call == "all_reduce"
    assert not at.in_torch


def test_a_cell_function_that_a_call_runs_counts_instead_of_the_call(write, look):
    """torch calls a function of the cell: that is the innermost line of it."""
    write(DISTRIBUTED, "def all_reduce(hook):\n    hook()\n")
    cell = write(CELL, "def hook():\n    stop()\ndef cell():\n    all_reduce(hook)\n")
    at = look(cell.cell)
    assert at.line == "In [7] line 2: stop()"
    assert at.call == ""


def test_importing_torch_distributed_is_not_a_call(write, look):
    """Its modules call functions of each other as they are imported."""
    write(f"{TORCH}distributed{os.sep}tensor.py", "def register():\n    stop()\n")
    write("<frozen importlib._bootstrap>", "def load():\n    register()\n")
    cell = write(CELL, "def cell():\n    load()\n")
    at = look(cell.cell)
    assert (at.call, at.arguments) == ("", {})
    assert at.line == "In [7] line 2: load()"


def test_a_call_of_torch_distributed_that_imports_is_a_call(write, look):
    write(f"{TORCH}nn.py", "def module():\n    stop()\n")
    write("<frozen importlib._bootstrap>", "def load():\n    module()\n")
    write(DISTRIBUTED, "def init_device_mesh():\n    load()\n")
    cell = write(CELL, "def cell():\n    init_device_mesh()\n")
    at = look(cell.cell)
    assert at.call == "init_device_mesh"
    assert at.in_torch


def test_a_position_elsewhere_in_torch_is_in_torch_and_in_no_call(write, look):
    write(f"{TORCH}nn.py", "def forward():\n    stop()\n")
    cell = write(CELL, "def cell():\n    forward()\n")
    at = look(cell.cell)
    assert (at.call, at.in_torch) == ("", True)


# -- waiting for a handle --------------------------------------------------------------------


class Handle:
    """What an asynchronous call returns, waiting at the gate."""

    def __init__(self, gate, kind):
        self.wait_in_c = gate.wait
        self._get_op_type = lambda: kind


ALL_REDUCE, SEND, RECV = 1, 12, 13


@pytest.fixture
def handle(gate, monkeypatch):
    """Makes handles whose ``wait`` is ours, over one that is C."""
    in_c, ledger = operator.methodcaller("wait_in_c"), Ledger()
    monkeypatch.setattr(Handle, "wait", blocking.of_works(ledger, in_c), raising=False)

    def make(kind=ALL_REDUCE):
        if kind is not None:
            return Handle(gate, kind)
        its = Handle(gate, kind)
        its.wait = functools.partial(blocking.of_futures(ledger, in_c), its)
        return its

    return make


FORMS = [
    "handle.wait()",
    "x = 1; handle.wait()",
    "me.handle.wait()",
    "handles.pop().wait()",
    "handles[-1].wait()",
    "start(1).wait()",
    "[its.wait() for its in handles]",
    "list(map(lambda its: its.wait(), handles))",
    "Handle.wait(handle)",
    "wait()",
    "(handle.wait\n    )()",
    "handle.wait(\n        None,\n    )",
]


@pytest.mark.parametrize("filename", [CELL, MINE], ids=["a cell", "a module"])
@pytest.mark.parametrize("source", FORMS)
def test_a_wait_is_seen_however_the_handle_is_kept(write, look, handle, source, filename):
    its = handle()
    file = write(filename, f"def step():\n    {source}\n")
    cell = write(CELL, "def cell():\n    step()\n") if filename == MINE else file
    file.step.__globals__.update(
        handle=its,
        handles=[its],
        me=types.SimpleNamespace(handle=its),
        start=lambda _: its,
        wait=its.wait,
        Handle=Handle,
    )
    at = look(cell.cell if filename == MINE else cell.step)
    assert (at.awaits, at.in_torch, at.call) == ("work", True, "")
    of_the_file = "model.py:2 in step, called from " if filename == MINE else ""
    if not hasattr(file.step.__code__, "co_qualname"):  # before Python 3.11
        of_the_file = of_the_file and at.line.partition("In [7]")[0]
    assert at.line.startswith(f"{of_the_file}In [7] line 2")


@pytest.mark.parametrize(
    ("kind", "awaits"), [(ALL_REDUCE, "work"), (SEND, "p2p"), (RECV, "p2p"), (None, "future")]
)
def test_a_position_says_what_kind_of_thing_is_waited_for(write, look, handle, kind, awaits):
    cell = write(CELL, "def cell(handle):\n    handle.wait()\n")
    assert look(lambda: cell.cell(handle(kind))).awaits == awaits


@pytest.mark.parametrize("source", ["stop()", "lock.wait()", "locks[0].wait()", "stop() or wait"])
def test_a_wait_for_something_else_is_not_one_for_a_collective(write, look, gate, handle, source):
    """``os.wait()`` or a lock's is no rank's fault and must never be ended as a hang."""
    cell = write(CELL, f"def cell():\n    {source}\n")
    lock = types.SimpleNamespace(wait=gate.wait)
    cell.cell.__globals__.update(wait=handle().wait, lock=lock, locks=[lock])
    at = look(cell.cell)
    assert (at.awaits, at.in_torch) == ("", False)


def test_the_function_that_announces_a_wait_is_not_on_the_stack(write, look, handle):
    cell = write(CELL, "def cell(handle):\n    handle.wait()\n")
    assert "handle.wait()" in look(lambda: cell.cell(handle()), see=frames.stack)[-1]


# -- between cells ---------------------------------------------------------------------------


def test_a_position_in_select_is_in_the_event_loop(gate):
    """With the real selectors and a real socket."""
    here, there = socket.socketpair()
    seen = []

    def watch():
        wait_until(lambda: frames.position().in_loop, SOON)
        seen.append(frames.position())
        there.send(b"x")

    with here, there, selectors.DefaultSelector() as selector:
        selector.register(here, selectors.EVENT_READ)
        watcher = threading.Thread(target=watch)
        watcher.start()
        assert selector.select(SOON)
        watcher.join()
    assert seen[0].in_loop
    assert not seen[0].in_torch


def test_a_position_in_the_loop_of_asyncio_is_in_the_event_loop():
    seen = []

    async def main():
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def watch():
            wait_until(lambda: frames.position().in_loop, SOON)
            seen.append(frames.position())
            loop.call_soon_threadsafe(done.set)

        threading.Thread(target=watch).start()
        await asyncio.wait_for(done.wait(), SOON)

    asyncio.run(main())
    assert seen[0].in_loop


def test_a_position_in_the_agent_between_requests_is_in_the_event_loop(write, look):
    agent = write("/rankbook/engine/agent.py", "def tidy():\n    gate.wait()\n")
    assert look(agent.tidy).in_loop


# -- marks, stacks, other threads ------------------------------------------------------------


def test_the_mark_changes_if_and_only_if_the_thread_has_moved(write, gate):
    cell = write(CELL, "def cell():\n    stop()\n    other.wait()\n")
    marks = []

    def watch():
        for its in (gate, cell.other):
            its.reached()
            marks.extend(frames.position().mark for _ in range(2))
            its.open()

    watcher = threading.Thread(target=watch)
    watcher.start()
    cell.cell()
    watcher.join()
    first, again, second, once_more = marks
    assert first == again
    assert second == once_more
    assert first != second


def test_the_stack_begins_with_the_outermost_call(write, look):
    write(MINE, "def train():\n    stop()\n")
    cell = write(CELL, "def cell():\n    train()\n")
    stack = look(cell.cell, see=frames.stack)
    *_, outer, inner = stack
    assert CELL in outer
    assert "train()" in outer
    assert MINE in inner
    assert "stop()" in inner


@pytest.mark.parametrize(("filename", "found"), [(DISTRIBUTED, True), (MINE, False)])
def test_another_thread_in_torch_distributed_is_seen(write, gate, filename, found):
    their = write(filename, "def watchdog():\n    stop()\n")
    thread = threading.Thread(target=their.watchdog)
    thread.start()

    gate.reached()
    try:
        assert frames.other_threads_in_torch_distributed() is found
    finally:
        gate.open()
        thread.join()


def test_the_main_thread_in_torch_distributed_is_not_another_thread(write, look):
    their = write(DISTRIBUTED, "def all_reduce():\n    stop()\n")
    assert not look(their.all_reduce, see=frames.other_threads_in_torch_distributed)


# -- where an exception came through ---------------------------------------------------------


def test_the_line_of_an_exception_is_the_innermost_of_the_cell(write):
    write(DISTRIBUTED, "def all_reduce():\n    raise ValueError('no')\n")
    cell = write(CELL, "def step():\n    all_reduce()\n\ndef cell():\n    step()\n")
    with pytest.raises(ValueError, match="no") as caught:
        cell.cell()
    assert traces.line_of(caught.value.__traceback__) == "In [7] line 2: all_reduce()"


def test_the_line_of_an_exception_in_a_users_file_has_that_of_the_cell(write):
    write(MINE, "def train():\n    raise ValueError('no')\n")
    cell = write(CELL, "def cell():\n    train()\n")
    with pytest.raises(ValueError, match="no") as caught:
        cell.cell()
    line = traces.line_of(caught.value.__traceback__)
    assert line == "model.py:2 in train, called from In [7] line 2: raise ValueError('no')"


def test_a_traceback_ends_above_the_frames_of_torch(write, monkeypatch):
    monkeypatch.setattr(owners, "NOT_OF_A_PERSON", (TORCH,))
    write(DISTRIBUTED, "def helper():\n    raise ValueError('no')\ndef all_reduce(): helper()\n")
    mine = write(MINE, "def step():\n    all_reduce()\n")
    write(f"{TORCH}nn.py", "def call(function): function()\n")
    with pytest.raises(ValueError, match="no") as caught:
        write(CELL, "def cell(step):\n    call(step)\n").cell(mine.step)
    whole = caught.value.__traceback__

    def names(trace):
        return [frame.f_code.co_name for frame, _ in traceback.walk_tb(trace)][1:]

    # A function of the user's that torch calls is user code, and so is how it came to that.
    assert names(traces.outside_torch(whole)) == ["cell", "call", "step"]
    assert names(whole) == ["cell", "call", "step", "all_reduce", "helper"]
    line = traces.line_of(traces.outside_torch(whole))
    assert line == "model.py:2 in step, called from In [7] line 2: all_reduce()"
    assert traces.outside_torch(None) is None


def test_a_traceback_ends_above_what_torch_calls_of_the_standard_library(write, monkeypatch):
    monkeypatch.setattr(owners, "NOT_OF_A_PERSON", (TORCH,))
    write(DISTRIBUTED, "import json\ndef load(): json.loads('')\n")
    for code, last in (("load()", "cell"), ("import json; json.loads('')", "raw_decode")):
        with pytest.raises(ValueError, match="Expecting value") as caught:
            write(CELL, f"def cell():\n    {code}\n").cell()
        *_, (frame, _) = traceback.walk_tb(traces.outside_torch(caught.value.__traceback__))
        assert frame.f_code.co_name == last


def test_an_exception_from_outside_of_the_cell_has_no_line():
    assert traces.line_of(None) == ""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        int("x")
    assert traces.line_of(caught.value.__traceback__) == ""


def test_a_traceback_of_very_many_frames_is_cut_in_the_middle():
    def recursion(n):
        return recursion(n + 1)

    with pytest.raises(RecursionError) as caught:
        recursion(0)
    trace = caught.value.__traceback__
    short = list(traceback.walk_tb(traces.shortened(trace)))
    assert len(short) == 30
    assert short[0] == next(traceback.walk_tb(trace))
    assert short[-1] == [*traceback.walk_tb(trace)][-1]
    assert traces.shortened(trace.tb_next) is not trace.tb_next
    assert traces.shortened(None) is None
