"""An engine's loop goes on after a handler of a signal has raised while no cell ran."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from rankbook.engine.app import going_on


@pytest.fixture
def loop():
    """An event loop, and what it has said of handlers that raised."""
    loop = asyncio.new_event_loop()
    before = signal.getsignal(signal.SIGUSR1)
    loop.said = []
    loop.run_forever = going_on(loop.run_forever, loop.said.append)
    yield loop
    signal.signal(signal.SIGUSR1, before)
    loop.close()


def ring(loop, error):
    """Run the loop until after a signal whose handler raises."""

    def has_rung(signum, frame):
        loop.call_later(0.05, loop.stop)
        raise error("mine")

    signal.signal(signal.SIGUSR1, has_rung)
    main = threading.get_ident()
    threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()
    loop.run_forever()


@pytest.mark.parametrize("error", [TimeoutError, KeyboardInterrupt, ValueError])
def test_a_loop_goes_on_after_a_signal_and_says_what_it_has_raised(loop, error):
    ring(loop, error)
    ring(loop, error)
    first, again = loop.said
    for said in (first, again):
        assert f"{error.__name__}: mine" in said
        assert "in has_rung" in said
        assert "selectors" not in said


def test_a_handler_may_end_the_process(loop):
    with pytest.raises(SystemExit):
        ring(loop, SystemExit)
    assert loop.said == []


def test_a_loop_that_fails_by_itself_ends(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()


def test_a_loop_that_is_stopped_ends(loop):
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.said == []
