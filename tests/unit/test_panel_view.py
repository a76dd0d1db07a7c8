"""The panel as a widget: what it sends to the page, and what it hears from there."""

from __future__ import annotations

import time

import comm
import pytest
from wire import Wire

from rankbook.widgets.clicks import Click
from rankbook.widgets.panel import PanelView


@pytest.fixture
def clicks():
    return []


@pytest.fixture
def looks():
    return []


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
    panel._handle_custom_msg(content, [])


# -- drawing ---------------------------------------------------------------------------------


def test_what_it_shows_is_sent_with_the_time(panel):
    before = time.time()
    panel.draw("<p>second</p>", 7)
    [state] = panel.comm.states
    assert (state["html"], state["during"]) == ("<p>second</p>", 7)
    assert before <= state["now"] <= time.time()


def test_nothing_is_sent_where_nothing_has_changed(panel):
    panel.draw("<p>first</p>", 0)
    assert panel.comm.sent == []


def test_the_same_during_another_cell_is_told_without_sending_it_again(panel):
    panel.draw("<p>first</p>", 7)
    [state] = panel.comm.states
    assert state["during"] == 7
    assert "html" not in state


def test_its_script_and_its_style_are_its_own(panel):
    state = panel.get_state()
    assert "export default" in state["_esm"]
    assert ".rb-panel" in state["_css"]


# -- clicks ----------------------------------------------------------------------------------


def test_a_click_is_passed_on_with_what_the_page_says_of_it(panel, clicks):
    tell(panel, kind="click", id="p-1", do="reset", at=12.5, during=7, form={"nproc": "2"})
    assert clicks == [Click("reset", 12.5, 7, {"nproc": "2"})]


@pytest.mark.parametrize("at", [0, None])
def test_a_click_of_which_nothing_more_is_known_is_passed_on_as_an_old_one(panel, clicks, at):
    tell(panel, kind="click", id="p-1", do="reset", at=at)
    assert clicks == [Click("reset", 0.0)]


def test_a_click_is_heard_before_it_is_passed_on(panel):
    """Or the page would say that the kernel is busy."""
    heard = []
    panel.on_click = lambda click: heard.append(list(panel.comm.messages))
    tell(panel, kind="click", id="p-7", do="reset", at=0)
    assert heard == [[{"kind": "heard", "id": "p-7"}]]


def test_what_a_page_of_another_version_says_is_ignored(panel, clicks, looks):
    tell(panel, kind="sings", loud=True)
    tell(panel)
    assert (clicks, looks, panel.comm.sent) == ([], [], [])


# -- who looks -------------------------------------------------------------------------------


def test_it_is_looked_at_while_any_page_shows_it(panel, looks):
    for kind, view in (("here", "a"), ("here", "b"), ("gone", "a"), ("gone", "b"), ("gone", "b")):
        tell(panel, kind=kind, view=view)
    assert looks == [True, True, True, False, False]


def test_a_page_that_says_it_twice_is_one_page(panel, looks):
    for kind in ("here", "here", "gone"):
        tell(panel, kind=kind, view="a")
    assert looks == [True, True, False]


def test_a_page_that_comes_learns_the_time(panel):
    before = time.time()
    tell(panel, kind="here", view="a", shown=panel.now)
    [state] = panel.comm.states
    assert list(state) == ["now"]
    assert before <= state["now"] <= time.time()


def test_a_page_that_has_missed_something_is_told_again(panel):
    shown = panel.now
    tell(panel, kind="here", view="a", shown=shown)
    assert [state.keys() for state in panel.comm.states] == [{"now"}]
    panel.comm.sent.clear()
    panel.draw("<p>dropped on its way</p>", 3)
    panel.comm.sent.clear()
    tell(panel, kind="here", view="a", shown=shown)
    assert panel.comm.states[0] == {"html": "<p>dropped on its way</p>", "during": 3}
