"""Pages that hear nothing of a widget, as the kernel notices them."""

from __future__ import annotations

import types

import comm
import pytest
from wire import Wire, say, stands_in

from rankbook.widgets import hearing
from rankbook.widgets.hearing import Hearing
from rankbook.widgets.panel import PanelView

pytestmark = stands_in


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(
        hearing,
        "time",
        types.SimpleNamespace(monotonic=lambda: clock.now, time=lambda: 1_700_000_000.0),
    )
    return clock


@pytest.fixture
def deaf():
    """When a page was found to be deaf."""
    return []


@pytest.fixture
def panel(monkeypatch, clock, deaf):
    monkeypatch.setattr(comm, "create_comm", Wire)
    panel = PanelView(lambda click: None, lambda someone: None)
    Hearing(panel, lambda: deaf.append(clock.now), 2.0)
    panel.comm.sent.clear()
    yield panel
    panel.close()


def ask(panel, page="a"):
    say(panel.comm, {"kind": "hearing", "page": page})


def test_a_page_that_asks_for_a_sign_is_answered(panel, deaf):
    ask(panel)
    assert panel.comm.messages == [{"kind": "heard you", "now": 1_700_000_000.0}]
    assert deaf == []


def test_a_page_that_still_asks_a_while_after_two_answers_is_deaf(panel, deaf, clock):
    for now in (1000.0, 1001.0, 1003.0, 1007.0):
        clock.now = now
        ask(panel)
    assert deaf == [1007.0]
    assert len(panel.comm.messages) == 3


def test_a_page_is_not_deaf_if_a_cell_ran_between_its_questions(panel, deaf, clock):
    """The page has heard the answer by then, but had asked again before."""
    for now in (1001.5, 1011.5, 1011.6):
        clock.now = now
        ask(panel)
    assert deaf == []


def test_a_page_is_not_deaf_if_its_questions_waited_for_a_busy_kernel(panel, deaf, clock):
    clock.now += 600
    for _ in range(10):
        ask(panel)
        clock.now += 0.1
    assert deaf == []


def test_questions_are_counted_for_each_page(panel, deaf, clock):
    ask(panel, "a")
    clock.now += 60
    ask(panel, "b")
    assert deaf == []


def test_other_messages_of_a_page_do_not_count_as_questions(panel, deaf, clock):
    for _ in range(2):
        say(panel.comm, {"kind": "here", "view": "a", "shown": panel.drawn})
        say(panel.comm, {})
        clock.now += 60
    assert (panel.comm.sent, deaf) == ([], [])
