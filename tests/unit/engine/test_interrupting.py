"""What runs is ended although its code has put its own handler of SIGINT in place of ours."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from processes import let_pass, wait_until

from rankbook.engine.cells.interrupting import interrupt, interruptible

LONG = 10.0


@pytest.fixture(autouse=True)
def as_in_an_engine():
    """Outside of what runs, SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def later(**how):
    """Interrupt this thread soon, from another one."""
    thread = threading.Timer(0.05, lambda: interrupt(**how))
    thread.start()
    return thread


def test_a_handler_of_the_code_is_called():
    came = []
    with interruptible():
        signal.signal(signal.SIGINT, lambda *_: came.append(1))
        later()
        wait_until(lambda: came)
    assert came == [1]


@pytest.mark.parametrize("handler", [lambda *_: None, signal.SIG_IGN], ids=["a function", "none"])
def test_one_who_insists_ends_what_runs_whatever_its_handler_does(handler):
    def run():
        with interruptible():
            signal.signal(signal.SIGINT, handler)
            later(insists=True)
            wait_until(lambda: False, LONG)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_systems_handler_does_not_end_the_process():
    def run():
        with interruptible():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            later()
            wait_until(lambda: False, LONG)

    with pytest.raises(KeyboardInterrupt):
        run()


def test_our_own_handler_is_called_once():
    came = []

    def run():
        with interruptible():
            later(insists=True)
            try:
                wait_until(lambda: False, LONG)
            except KeyboardInterrupt:
                came.append(1)
                let_pass(0.1)  # another one would come

    run()
    assert came == [1]


def test_nothing_is_raised_where_nothing_runs():
    later(insists=True).join()
    let_pass(0.01)  # it would come


def test_a_cell_that_awaits_is_left_to_its_handler():
    """An exception from outside would leave the loop, and end the engine."""
    came = []

    async def run():
        task = asyncio.current_task()
        with interruptible(task):
            signal.signal(signal.SIGINT, lambda *_: came.append(1))
            later(insists=True)
            await asyncio.sleep(0.2)

    asyncio.run(run())
    assert came == [1]


def test_nothing_is_raised_after_what_ran_has_ended():
    """However close to its end it is interrupted."""

    def run(begun):
        with interruptible():
            signal.signal(signal.SIGINT, lambda *_: None)
            begun.set()

    def interrupt_once(begun):
        begun.wait()
        interrupt(insists=True)

    for _ in range(200):
        begun = threading.Event()
        thread = threading.Thread(target=interrupt_once, args=[begun])
        thread.start()
        with suppress(KeyboardInterrupt):
            run(begun)
        thread.join()


def test_code_goes_on_below_a_profiler_afterwards():
    code = (
        "import cProfile\n"
        "from rankbook.engine.cells.interrupting import interruptible\n"
        "with interruptible(): pass\n"
        "with cProfile.Profile(): print(sum(map(lambda x: x + 1, range(3))))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "6\n"
