"""The panel as a widget: what it sends to the page, and what it hears from there."""

from __future__ import annotations

import types

import comm
import pytest
from wire import Wire, say, stands_in

from rankbook.widgets import panel as panel_module
from rankbook.widgets.clicks import Click
from rankbook.widgets.panel import PanelView

pytestmark = stands_in


@pytest.fixture
def clicks():
    return []


@pytest.fixture
def looks():
    return []


@pytest.fixture
def clock(monkeypatch):
    """The kernel's, as the panel reads it."""
    clock = types.SimpleNamespace(now=1000.0)
    monkeypatch.setattr(panel_module, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def panel(monkeypatch, clicks, looks):
    monkeypatch.setattr(comm, "create_comm", Wire)
    panel = PanelView(clicks.append, looks.append)
    panel.draw("<p>first</p>", 0)
    panel.comm.sent.clear()
    yield panel
    panel.close()


def tell(panel, **content):
    """What a page says."""
    say(panel.comm, content)


# -- drawing ---------------------------------------------------------------------------------


def test_the_panel_sends_its_html_with_a_number(panel):
    panel.draw("<p>second</p>", 7)
    panel.draw("<p>third</p>", 8)
    assert panel.comm.states == [
        {"html": "<p>second</p>", "during": 7, "drawn": 2},
        {"html": "<p>third</p>", "during": 8, "drawn": 3},
    ]


def test_the_panel_sends_nothing_for_equal_html(panel):
    panel.draw("<p>first</p>", 0)
    assert panel.comm.sent == []


def test_equal_html_during_another_cell_sends_only_the_turn(panel):
    panel.draw("<p>first</p>", 7)
    [state] = panel.comm.states
    assert state["during"] == 7
    assert "html" not in state


def test_the_panel_has_a_script_and_a_style_of_its_own(panel):
    state = panel.get_state()
    assert "export default" in state["_esm"]
    assert ".rb-panel" in state["_css"]


# -- clicks ----------------------------------------------------------------------------------


def test_a_click_is_passed_on_with_its_age_turn_and_form(panel, clicks, clock):
    tell(panel, kind="ask", id="p-1")
    clock.now += 0.5
    tell(panel, kind="click", id="p-1", do="reset", age=0.25, during=7, form={"nproc": "2"})
    assert clicks == [Click("reset", 0.75, 7, {"nproc": "2"})]


def test_the_panel_answers_that_a_click_comes_before_the_click_itself(panel, clicks):
    """How long a kernel did not listen is known only to the page, once it has an answer."""
    tell(panel, kind="ask", id="p-7")
    assert panel.comm.messages == [{"kind": "heard", "id": "p-7"}]
    assert clicks == []


def test_of_two_clicks_each_has_its_own_age(panel, clicks, clock):
    tell(panel, kind="ask", id="p-1")
    clock.now += 1
    tell(panel, kind="ask", id="q-1")
    clock.now += 1
    tell(panel, kind="click", id="q-1", do="why", age=0)
    tell(panel, kind="click", id="p-1", do="stacks", age=0)
    assert clicks == [Click("why", 1.0), Click("stacks", 2.0)]


@pytest.mark.parametrize("asked", ["", "p-1"])
def test_a_click_is_taken_once_and_only_if_it_was_announced(panel, clicks, asked):
    tell(panel, kind="ask", id=asked)
    for _ in range(2):
        tell(panel, kind="click", id="p-1", do="reset", age=0)
    assert len(clicks) == len(asked[:1])


def test_unknown_messages_of_a_page_are_ignored(panel, clicks, looks):
    tell(panel, kind="sings", loud=True)
    tell(panel)
    assert (clicks, looks, panel.comm.sent) == ([], [], [])


# -- pages that show the panel ---------------------------------------------------------------


def test_the_panel_counts_as_visible_while_any_page_shows_it(panel, looks):
    for kind, view in (("here", "a"), ("here", "b"), ("gone", "a"), ("gone", "b"), ("gone", "b")):
        tell(panel, kind=kind, view=view)
    assert looks == [True, True, True, False, False]


def test_a_page_that_vanished_silently_does_not_count_for_long(panel, looks, clock):
    tell(panel, kind="here", view="a")
    clock.now += 80
    tell(panel, kind="here", view="b")
    tell(panel, kind="gone", view="b")
    assert looks == [True, True, False]


def test_a_page_that_reports_itself_twice_counts_once(panel, looks):
    for kind in ("here", "here", "gone"):
        tell(panel, kind=kind, view="a")
    assert looks == [True, True, False]


def test_a_page_that_missed_an_update_gets_it_again(panel):
    tell(panel, kind="here", view="a", shown=panel.drawn)
    assert panel.comm.sent == []
    shown = panel.drawn
    panel.draw("<p>dropped on its way</p>", 3)
    panel.comm.sent.clear()
    tell(panel, kind="here", view="a", shown=shown)
    [state] = panel.comm.states
    assert state == {"html": "<p>dropped on its way</p>", "during": 3, "drawn": shown + 1}
