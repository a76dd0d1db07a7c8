"""What is said inside ``with out:`` on a rank, for any widget that has outputs."""

from __future__ import annotations

import gc
import sys
import types
import weakref

import pytest

from rankbook.engine.cells.outputs import Outputs
from rankbook.models.events import Clear, Display


class Widget:
    """What :class:`ipywidgets.Output` is to us."""

    def __init__(self):
        self.outputs = ()

    @property
    def text(self):
        return "".join(one.get("text", "") for one in self.outputs)


@pytest.fixture
def outputs(monkeypatch):
    cls = type("Output", (Widget,), {})
    module = types.SimpleNamespace(Output=cls)
    monkeypatch.setitem(sys.modules, "ipywidgets.widgets.widget_output", module)
    freed = types.SimpleNamespace(value=False)
    failures = types.SimpleNamespace(is_end=lambda etype: freed.value)
    outputs = Outputs(failures)
    outputs.cls, outputs.freed = cls, freed
    return outputs


def html(text, name="", *, update=False):
    return Display({"text/html": text}, {}, name, update)


def test_text_outside_of_widgets_is_not_taken(outputs):
    assert not outputs.write("stdout", "x")
    assert not outputs.display(html("x"))


def test_the_innermost_widget_takes_what_is_said(outputs):
    outer, inner = outputs.cls(), outputs.cls()
    with outer:
        outputs.write("stdout", "a")
        with inner:
            outputs.write("stdout", "b")
        outputs.write("stdout", "c")
    assert (outer.text, inner.text) == ("ac", "b")
    assert len(outer.outputs) == 1


@pytest.mark.parametrize("wait", [True, False])
def test_an_output_widget_loses_what_is_cleared_and_keeps_what_follows(outputs, wait):
    widget = outputs.cls()
    with widget:
        outputs.write("stdout", "a")
        outputs.display(Clear(wait))
        outputs.show()
        assert widget.text == ("a" if wait else "")
        outputs.write("stdout", "b")
    assert widget.text == "b"


def test_a_display_in_a_widget_is_updated_from_outside(outputs):
    widget = outputs.cls()
    with widget:
        outputs.display(html("old", "d"))
    assert outputs.display(html("new", "d", update=True))
    assert not outputs.display(html("new", "another", update=True))
    [shown] = widget.outputs
    assert shown["data"] == {"text/html": "new"}


def test_an_exception_is_shown_in_the_widget_and_the_cell_goes_on(outputs):
    widget = outputs.cls()
    with widget:
        raise ValueError("bad")
    assert [(one["ename"], one["evalue"]) for one in widget.outputs] == [("ValueError", "bad")]


def test_an_interrupt_is_for_the_cell(outputs):
    widget = outputs.cls()
    with pytest.raises(KeyboardInterrupt), widget:
        raise KeyboardInterrupt
    outputs.freed.value = True
    with pytest.raises(RuntimeError), widget:
        raise RuntimeError("connection closed")
    assert widget.outputs == ()


def test_a_widget_that_is_gone_is_not_kept(outputs):
    widget = outputs.cls()
    with widget:
        outputs.write("stdout", "x")
    gone = weakref.ref(widget)
    del widget
    gc.collect()
    assert gone() is None
    outputs.show()
