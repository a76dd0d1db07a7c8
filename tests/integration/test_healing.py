"""What was made before a hang, an interrupt or a reset goes on after it, with the same results."""

from __future__ import annotations

import pytest
from objects import COMMON, OBJECTS, STEP
from processes import wait_until
from steps import SOON

STEPS = 6
BEFORE = 3
"""Steps that are taken before the event."""


@pytest.fixture(scope="module", autouse=True)
def imported(four):
    four.run(COMMON).raise_for_error()


def seen_after(session, code):
    session.run(code).raise_for_error()
    return session.pull("seen")


def make(session, name):
    session.run(COMMON + OBJECTS[name]).raise_for_error()


def states(session, steps):
    return [seen_after(session, STEP.format(k)) for k in steps]


@pytest.fixture(scope="module")
def undisturbed(four):
    """By object, what each step of a run without events gives."""
    kept = {}

    def of(name):
        if name not in kept:
            make(four, name)
            kept[name] = states(four, range(STEPS))
        return kept[name]

    return of


def skip(session):
    return session.run(f"if rank != 2: grads({BEFORE})")


def raise_in(place):
    def event(session):
        session.run(f"if rank == 2: halt[{place!r}] = 'raise'").raise_for_error()
        return session.run(f"grads({BEFORE})")

    return event


def interrupt(session):
    session.run("if rank == 2: halt['backward'] = 'sleep'").raise_for_error()
    results = []
    cell = session.in_background(lambda: results.append(session.run(f"grads({BEFORE})")))
    wait_until(lambda: session.diagnose().kind == "slow")
    session.interrupt()
    cell.join(SOON)
    return results[0]


def reset(session):
    session.reset()


EVENTS = {
    "hang before the step": skip,
    "hang in the forward": raise_in("forward"),
    "hang in the backward": raise_in("backward"),
    "interrupt in the backward": interrupt,
    "reset": reset,
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", OBJECTS)
def test_the_same_objects_take_the_next_step(four, undisturbed, name, event):
    expected = undisturbed(name)
    make(four, name)
    assert states(four, range(BEFORE)) == expected[:BEFORE]
    generation = four.generation
    result = EVENTS[event](four)
    assert result is None or not result.ok
    assert four.generation == generation + 1, result and result.note
    assert seen_after(four, "seen = state()") == expected[BEFORE - 1]
    assert states(four, range(BEFORE, STEPS)) == expected[BEFORE:]
