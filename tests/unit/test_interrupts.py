"""Ctrl-C while something must not be left half done; with real signals."""

from __future__ import annotations

import math
import signal
import threading
import time

import pytest
from processes import let_pass, wait_until
from steps import SOON

from rankbook import interrupts
from rankbook.interrupts import delay_ctrl_c, delaying_ctrl_c, ignore_ctrl_c, read_beside


def press():
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_is_ignored_in_the_block_and_obeyed_after_it():
    before = signal.getsignal(signal.SIGINT)
    with ignore_ctrl_c():
        press()
        press()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        press()


def test_ctrl_c_takes_effect_once_and_at_the_end_of_a_block_that_delays_it():
    done = []

    def work():
        with delay_ctrl_c():
            press()
            press()
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done
    with delay_ctrl_c():
        pass
    with pytest.raises(KeyboardInterrupt):
        press()


def test_ctrl_c_can_be_delayed_several_times_by_one_change_of_the_handler():
    done = []

    def work():
        with delaying_ctrl_c() as delayed:
            handler = signal.getsignal(signal.SIGINT)
            with delayed:
                done.append("first")
            for step in ("second", "never"):
                with delayed:
                    assert signal.getsignal(signal.SIGINT) == handler
                    press()
                    done.append(step)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_takes_effect_at_once_between_blocks_that_delay_it():
    done = []

    def work():
        with delaying_ctrl_c() as delayed:
            with delayed:
                done.append(True)
            press()
            done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == [True]


def test_ctrl_c_in_a_block_that_raises_is_not_lost():
    def work():
        with delay_ctrl_c():
            press()
            raise ValueError

    with pytest.raises(KeyboardInterrupt) as raised:
        work()
    assert isinstance(raised.value.__context__, ValueError)


@pytest.mark.parametrize(("patience", "later", "raises"), [(3, 2, False), (3, 4, True)])
def test_ctrl_c_is_obeyed_after_the_patience_has_passed(monkeypatch, patience, later, raises):
    now = [0.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    pressed = []
    with ignore_ctrl_c(patience):
        now[0] += later
        try:
            press()
        except KeyboardInterrupt:
            pressed.append(True)
    assert bool(pressed) is raises


@pytest.mark.parametrize("patience", [0, math.inf])
def test_a_process_that_ignores_sigint_goes_on_ignoring_it(patience):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ignore_ctrl_c(patience):
            press()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_blocks_that_ignore_ctrl_c_can_be_nested():
    with ignore_ctrl_c(), ignore_ctrl_c(0):
        press()


def test_the_handler_of_sigint_is_unchanged_in_another_thread():
    seen = []

    def look():
        with ignore_ctrl_c():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def test_an_error_leaves_the_block_and_restores_the_handler():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="no"), ignore_ctrl_c():
        raise ValueError("no")
    assert signal.getsignal(signal.SIGINT) is before


# -- asking a user, and something else beside it -------------------------------------------


def test_the_answer_ends_the_work_beside_it():
    worked = []

    def work(is_answered):
        wait_until(is_answered, SOON)
        worked.append(True)

    assert read_beside(lambda: "yes", work) == "yes"
    assert worked == [True]


def test_work_that_is_done_ends_the_question_in_the_main_thread():
    def read():
        let_pass(SOON)
        return "late"

    began = time.monotonic()
    assert read_beside(read, lambda _: None) is None
    assert time.monotonic() - began < SOON / 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_at_the_question_is_raised_after_the_work_has_ended():
    worked = []

    def work(is_answered):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        wait_until(is_answered, SOON)
        worked.append(True)

    with pytest.raises(KeyboardInterrupt):
        read_beside(lambda: let_pass(SOON), work)
    assert worked == [True]


def test_an_error_of_interruptible_work_is_raised_in_the_caller():
    def work(_):
        raise ValueError("no controller")

    with pytest.raises(ValueError, match="no controller"):
        read_beside(lambda: let_pass(SOON), work)


def test_in_another_thread_the_question_is_not_ended_by_a_signal():
    found = []

    def ask():
        found.append(read_beside(lambda: let_pass(0.3) or "typed", lambda _: None))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(SOON)
    assert found == ["typed"]
