"""Whatever an asynchronous call returned, and however it is kept: waiting for it is explained."""

from __future__ import annotations

import pytest
from processes import waits_for
from watching import left_alone, looks
from world import World, until

pytestmark = pytest.mark.usefixtures("eager", "whole_afterwards")

SOON = 20.0

COLLECTIVES = {
    "name": "work = start()\nwork.wait()",
    "attribute": (
        "class Trainer:\n"
        "    def step(self):\n"
        "        self.handle = start()\n"
        "        self.handle.wait()\n"
        "Trainer().step()"
    ),
    "pop": "handles = [start()]\nhandles.pop().wait()",
    "values of a dict": "handles = {'x': start()}\nfor its in handles.values(): its.wait()",
    "nested": "state = {'grads': [None, (start(), 1)]}\nstate['grads'][1][0].wait()",
    "chained": "dist.all_reduce(x, async_op=True).wait()",
    "chained, by the full name": "torch.distributed.all_reduce(x, async_op=True).wait()",
    "chained, imported": (
        "from torch.distributed import all_reduce as reduce\nreduce(x, async_op=True).wait()"
    ),
    "chained, over lines": (
        "torch.distributed.all_reduce(\n    x,\n    async_op=True,\n).wait(\n)"
    ),
    "a function's": "start().wait()",
    "walrus": "(work := start()).wait()",
    "comprehension": "[its.wait() for its in [start(), start()]]",
    "generator": "all(its.wait() for its in (start() for _ in range(2)))",
    "lambda": "list(map(lambda its: its.wait(), [start()]))",
    "bound method": "wait = start().wait\nwait()",
    "method of the class": "dist.Work.wait(start())",
    "by its name": "getattr(start(), 'wait')()",
    "context manager": (
        "import contextlib\nwith contextlib.ExitStack() as stack:\n    stack.callback(start().wait)"
    ),
    "finally": "try:\n    work = start()\nfinally:\n    work.wait()",
    "a module's": "helper.finish(start())",
    "a module's list": "helper.finish_all([start(), start()])",
    "future": "start().get_future().wait()",
    "attribute with a future": (
        "class State: pass\nstate = State()\nstate.future = start().get_future()\n"
        "state.future.wait()"
    ),
    "what follows a future": "start().get_future().then(lambda its: its.value()).wait()",
    "several futures": (
        "import torch.futures\ntorch.futures.wait_all([start().get_future() for _ in range(2)])"
    ),
    "the group's own method": "dist.group.WORLD.allreduce([x]).wait()",
    "with a timeout": "import datetime\nstart().wait(datetime.timedelta(minutes=20))",
    "a cell that awaits": "import asyncio\nawait asyncio.sleep(0)\n[start()][0].wait()",
}

LATE = (
    "attribute",
    "chained, by the full name",
    "attribute with a future",
    "comprehension",
    "what follows a future",
    "a module's list",
    "the group's own method",
    "with a timeout",
    "a cell that awaits",
)
"""Forms that are tried with a rank that is only late. Every second one, which `make test` runs, is
another way to wait; those between repeat the first."""

ONE_TO_ANOTHER = {
    "chained": ("torch.distributed.irecv(x, 1).wait()", "dist.send(x, 0)"),
    "attribute": (
        "def me(): pass\nme.handle = dist.irecv(x, src=1)\nme.handle.wait()",
        "dist.send(x, 0)",
    ),
    "beside a collective": (
        "done = start()\ndist.irecv(x, src=1).wait()\ndone.wait()",
        "done = start()\ndist.send(x, 0)\ndone.wait()",
    ),
    "batch": (
        "ops = [dist.P2POp(dist.irecv, x, 1)]\ndist.batch_isend_irecv(ops)[-1].wait()",
        "dist.send(x, 0)",
    ),
    "batch, one after another": (
        (
            "ops = [dist.P2POp(op, torch.ones(2), 1) for op in (dist.irecv, dist.isend)]\n"
            "for its in dist.batch_isend_irecv(ops): its.wait()"
        ),
        "dist.recv(torch.ones(2), 0)\ndist.send(x, 0)",
    ),
    "any source": ("dist.irecv(x).wait()", "dist.send(x, 0)"),
    "a module's": ("helper.finish(dist.irecv(x, 1))", "dist.send(x, 0)"),
}

ASKED = {
    "with a pause": "work = start()\nwhile not work.is_completed():\n    time.sleep(0.01)",
    "without a pause": "work = start()\nwhile not work.is_completed(): pass",
    "with a break": "work = start()\nwhile True:\n    if work.is_completed(): break",
    "a future": "future = start().get_future()\nwhile not future.done(): time.sleep(0.05)",
    "several": (
        "works = [start(), start()]\n"
        "while not all(its.is_completed() for its in works): time.sleep(0.1)"
    ),
    "those that are left": (
        "left = [start(), start()]\n"
        "while left:\n    left = [its for its in left if not its.is_completed()]"
    ),
    "in a module": "helper.ask(start())",
    "a message": "work = dist.irecv(x, 1)\nwhile not work.is_completed(): time.sleep(0.01)",
}
"""Asking again and again instead of waiting."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "helper.py").write_text(
        "def finish(handle):\n    handle.wait()\n"
        "def ask(handle):\n    while not handle.is_completed(): pass\n"
        "def finish_all(handles):\n    return [its.wait() for its in handles]\n"
    )
    world = World(2, seed=1)
    world.session.run(
        f"import sys, time\nsys.path.insert(0, {str(folder)!r})\nimport helper\n"
        "x = torch.ones(2)\n"
        "def start(): return dist.all_reduce(x, async_op=True)"
    ).raise_for_error()
    yield world
    world.close()


@pytest.fixture
def sign(tmp_path):
    """A file that ranks wait for."""
    return tmp_path / "sign"


def hung(world, code):
    """Run what never ends on rank 0, and nothing on rank 1; return the verdict."""
    running = world.in_background(lambda: world.session.run(only(0, code)))
    assert running.join(SOON), "it was not freed"
    assert running.value.diagnosis is not None, running.error or running.value
    assert running.value.diagnosis.proven
    assert running.value[0].error.ename == "KeyboardInterrupt"
    assert "blocking.py" not in "".join(running.value[0].error.traceback)
    return running.value.diagnosis


def only(rank, code):
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    return f"if rank == {rank}:\n{lines}"


@pytest.mark.parametrize("code", COLLECTIVES.values(), ids=COLLECTIVES)
@pytest.mark.sample(every=3)
def test_a_wait_for_a_collective_is_explained_and_freed(world, code):
    verdict = hung(world, code)
    assert (verdict.kind, verdict.ranks) == ("missing_rank", (1,))
    assert "all_reduce" in verdict.summary


@pytest.mark.parametrize("name", ONE_TO_ANOTHER)
@pytest.mark.sample(every=2)
def test_a_wait_for_another_rank_is_explained_and_freed(world, name):
    code, _ = ONE_TO_ANOTHER[name]
    if "start()" in code:  # rank 1 has its part in that
        code = code.replace("done = start()\n", "done = None\n").replace("\ndone.wait()", "")
    verdict = hung(world, code)
    assert 1 in verdict.ranks


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.sample(every=8)
def test_a_rank_that_asks_again_and_again_is_explained_and_freed(world, name):
    verdict = hung(world, ASKED[name])
    assert verdict.kind == "missing_rank"
    assert verdict.ranks == (1,)


def is_healthy(world, sign, code):
    """Run a cell in which a file is awaited before anybody goes on, and nothing else is wrong.

    Returns:
        What was seen meanwhile, by request and by the watch, which has looked at it several times.
    """
    generation = world.session.generation
    seen = []
    result, by_the_watch = left_alone(
        world.session, sign, code, lambda: seen.append(world.session.diagnose())
    )
    assert result.note == ""
    assert world.session.generation == generation
    return seen + by_the_watch


@pytest.mark.parametrize("name", LATE)
@pytest.mark.sample(every=2)
def test_a_wait_for_a_late_collective_is_no_hang(world, sign, name):
    seen = is_healthy(world, sign, only(1, waits_for(sign)) + COLLECTIVES[name])
    assert any((its.kind, its.ranks) == ("slow", (1,)) for its in seen)
    assert not any(its.proven for its in seen)


@pytest.mark.parametrize("name", [name for name in ASKED if name != "a message"])
@pytest.mark.sample(every=8)
def test_a_rank_that_asks_for_what_comes_late_is_left_alone(world, sign, name):
    """Not a message: gloo says that one has come only when it is waited for."""
    code = only(1, waits_for(sign)) + ASKED[name]
    assert not any(its.proven for its in is_healthy(world, sign, code))


def test_a_rank_that_asks_until_a_deadline_is_left_alone(world):
    code = only(
        0,
        "work, end = dist.irecv(x, 1), time.time() + 2\n"
        "while not work.is_completed() and time.time() < end: time.sleep(0.01)\nprint('ended')",
    )
    with looks() as seen:
        result = world.session.run(code)
    assert result.diagnosis is None
    assert "ended" in result[0].stdout
    assert seen
    assert not any(its.proven for its in seen)
    world.session.reset()


UNTIL_AN_ALARM = """
import signal
def ring(*_): raise TimeoutError
before = signal.signal(signal.SIGALRM, ring)
signal.alarm(2)
try:
    {}
except TimeoutError:
    print('ended')
finally:
    signal.signal(signal.SIGALRM, before)
"""


@pytest.mark.parametrize(
    "wait",
    [
        "work = dist.irecv(x, 1)\n    while not work.is_completed(): time.sleep(0.01)",
        (
            "from threading import Thread\n    thread = Thread(target=dist.recv, args=(x, 1))\n"
            "    thread.start()\n    thread.join()"
        ),
        "dist.TCPStore('127.0.0.1', 0, 1, True).get('never')",
    ],
    ids=["asks", "joins a thread", "a key"],
)
def test_a_rank_that_waits_until_an_alarm_is_left_alone(world, wait):
    with looks() as seen:
        result = world.session.run(only(0, UNTIL_AN_ALARM.format(wait)))
    assert result.diagnosis is None
    assert "ended" in result[0].stdout
    assert seen
    assert not any(its.proven for its in seen)
    world.session.reset()


@pytest.mark.parametrize(("code", "its"), ONE_TO_ANOTHER.values(), ids=ONE_TO_ANOTHER)
@pytest.mark.sample(every=3)
def test_a_wait_for_a_late_rank_is_no_hang(world, sign, code, its):
    seen = is_healthy(world, sign, only(0, code) + only(1, waits_for(sign) + its))
    assert not any(its.proven for its in seen)


@pytest.mark.parametrize(
    "body",
    [
        ("future = torch.futures.Future()\nbeside(lambda: future.set_result([1]))\nfuture.wait()"),
        "class Works(dist.Work):\n    def wait(self): come()\nWorks().wait()",
        "late = threading.Event()\nbeside(late.set)\nlate.wait(60)",
    ],
    ids=["future", "a class of one's own", "lock"],
)
def test_a_wait_for_something_else_than_a_rank_is_not_ended(world, sign, body):
    begin = (
        f"import os, threading\ndef come():\n"
        f"    while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        "def beside(work): threading.Thread(target=lambda: (come(), work())).start()\n"
    )
    code = f"{begin}{only(0, body)}dist.barrier()"
    assert not any(its.proven for its in is_healthy(world, sign, code))


def test_a_handle_that_ends_with_a_timeout_of_its_own_is_no_hang(world):
    code = only(
        0,
        "import datetime\ntry:\n    dist.irecv(x, 1).wait(datetime.timedelta(milliseconds=200))\n"
        "except RuntimeError as error:\n    print('ended:', type(error).__name__)",
    )
    result = world.session.run(code)
    assert result.diagnosis is None
    assert "ended: RuntimeError" in result[0].stdout
    world.session.reset()


def test_the_verdict_on_a_waiting_handle_names_the_line_of_the_cell(world):
    running = world.in_background(
        lambda: world.session.run(only(0, COLLECTIVES["attribute"]), on_hang="wait")
    )
    assert until(lambda: world.session.diagnose().proven, SOON) < SOON
    assert "self.handle.wait()" in world.session.diagnose().per_rank[0]
    world.session.interrupt()
    assert running.join(SOON)
