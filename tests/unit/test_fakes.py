"""The fakes have nothing that the real ones lack, and know what those are asked for."""

from __future__ import annotations

import dataclasses
import inspect
import time

import fakes
import pytest

from rankbook.cluster.launchers.base import Launcher
from rankbook.cluster.transport.messages import Wire
from rankbook.cluster.transport.wire import ClientWire
from rankbook.display.cells.cell import LiveOutput
from rankbook.engine.operations import ASIDE, CONTROL, LATER, ROOMS, operations_in
from rankbook.models import Collective, Failure, Look, load
from rankbook.models.requests import Destroy, Free, LookAt, Run

LAUNCHING = {"add", "describe", "end", "log_tail", "start", "start_engines", "stop", "stop_engines"}


def public(cls):
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("fake", "real", "own"),
    [
        (fakes.FakePool().launcher, Launcher, {"client", "closed", "cluster_id", "grown"}),
        (fakes.FakeWire({}), ClientWire, {"join", "leave", "lost", "requests"}),
        (fakes.Recorder(), LiveOutput, {"events", "finished", "mismatches", "notes", "running"}),
        (fakes.Clock(), time, {"now"}),
    ],
)
def test_the_fake_has_nothing_that_the_real_one_lacks(fake, real, own):
    assert public(fake) - own - public(real) == set()


@pytest.mark.parametrize(
    ("fake", "real", "name"),
    [
        *((fakes.FakeLauncher, Launcher, name) for name in sorted(LAUNCHING)),
        *((fakes.FakeWire, Wire, name) for name in sorted(public(Wire) - {"address", "engines"})),
        *(
            (fakes.Recorder, LiveOutput, name)
            for name in ("event", "finish", "mismatch", "note", "pause")
        ),
    ],
)
def test_methods_of_the_fakes_take_what_the_real_ones_take(fake, real, name):
    assert list(inspect.signature(getattr(fake, name)).parameters) == list(
        inspect.signature(getattr(real, name)).parameters
    )


OPERATIONS = operations_in((*ROOMS, *LATER))


def test_the_fake_engines_know_every_operation():
    known = {"run", "facts", "pull", "push", "copy", "fill"}
    known |= {name for name in vars(fakes.FakeEngine) if not name.startswith("_")}
    assert set(OPERATIONS) <= known


def test_the_fake_engines_answer_at_any_time_what_the_real_ones_do():
    real = {name for name, its in OPERATIONS.items() if its.on in {CONTROL, ASIDE}}
    assert real == fakes.AT_ANY_TIME


@pytest.mark.parametrize("name", ["free", "look", "stacks", "timeline", "forget_error"])
def test_operations_of_the_fake_engines_take_what_the_real_ones_take(name):
    real, fake = OPERATIONS[name].request, getattr(fakes.FakeEngine, name)
    taken = [parameter for parameter in inspect.signature(fake).parameters if parameter != "self"]
    assert taken == [field.name for field in dataclasses.fields(real)]


def test_the_end_of_an_engine_is_reported_before_its_requests_fail(monkeypatch):
    """Code that waits for it must find out how it ended, not only that."""
    order = []

    def told(*its):
        order.append(("told", *its))

    def failed(number):
        order.append(("failed", number))

    fake = fakes.FakePool(4)
    fake.on_end = told
    monkeypatch.setattr(fake.channel, "engine_gone", failed)
    fake.kill(3)
    assert order == [("told", 3, -9), ("failed", 3)]


# -- what a test can make a fake engine do ---------------------------------------------------


@pytest.fixture
def ask(pool):
    """Asks engine 1 for an operation; returns the call."""

    return lambda request: pool.channel.request({1: request})


def test_a_cell_that_sticks_ends_with_an_interrupt_and_not_with_a_cut(ask, pool):
    call = ask(Run("x = 1\nstick()", 7))
    look = load(Look, ask(LookAt()).values[1])
    assert (look.state, look.line, look.cell) == ("running", "a cell line 2: stick()", 7)
    assert ask(Free(cut=True)).values == {1: True}
    assert not call.done
    ask(Free(interrupt=True))
    error = load(Failure, call.values[1]["error"])
    assert (error.ename, error.freed, error.line) == (
        "KeyboardInterrupt",
        True,
        "a cell line 2: stick()",
    )
    assert load(Look, ask(LookAt()).values[1]).state == "idle"
    assert ask(Free(interrupt=True)).values == {1: False}


def test_a_cell_that_waits_in_torch_ends_with_a_cut_and_not_with_an_interrupt(ask):
    call = ask(Run("called('barrier', 2)\nwait_in('all_reduce', seq=3)", 7))
    look = load(Look, ask(LookAt(closely=True)).values[1])
    assert look.state == "waiting"
    assert look.waiting == Collective("all_reduce", "0", seq=3)
    assert look.recent == (Collective("barrier", "0", seq=2, done=True), look.waiting)
    ask(Free(interrupt=True))
    assert not call.done
    ask(Free(cut=True))
    assert call.values[1]["error"]["freed"]


def test_a_fake_cell_that_ignores_two_interrupts_ends_with_the_third(ask, pool):
    pool[1].ignores = 2
    call = ask(Run("stick()", 7))
    ended = [ask(Free(interrupt=True)) and call.done for _ in range(3)]
    assert ended == [False, False, True]


def test_a_fake_cell_that_ignores_all_interrupts_never_ends(ask, pool):
    pool[1].ignores = fakes.FOR_GOOD
    call = ask(Run("wait_in('recv')", 7))
    for _ in range(10):
        ask(Free(interrupt=True, cut=True))
    assert not call.done


def test_a_cell_that_dies_ends_its_engine(ask, pool):
    told = []
    pool.on_end = lambda *its: told.append(its)
    call = ask(Run("die(-6)", 7))
    assert told == [(1, -6)]
    assert call.failures[1].evalue == "Engine 1 has ended."
    assert pool.engines == [0, 2, 3]
    assert ask(LookAt()).failures


def test_a_joined_engine_ends_without_a_report_of_how():
    pool = fakes.FakePool(2, owned=False)
    pool.on_end = lambda *_: pytest.fail("it was told")
    pool.end([1])
    assert pool.engines == [0]


def test_a_busy_engine_does_what_needs_its_main_thread_when_it_is_free(ask, pool):
    ask(Run("stick()", 7))
    destroyed, looked = ask(Destroy()), ask(LookAt())
    assert looked.done
    assert not destroyed.done
    ask(Free(interrupt=True))
    assert destroyed.done


def test_new_engines_have_new_ids(pool):
    pool.end([3])
    pool.grow(2)
    assert pool.engines == [0, 1, 2, 4, 5]


def test_all_engines_are_replaced_under_new_ids(pool):
    pool.end([0])
    pool.replace()
    assert pool.engines == [4, 5, 6]
    assert pool.channel.ask({4: LookAt()})[4]["state"] == "idle"
