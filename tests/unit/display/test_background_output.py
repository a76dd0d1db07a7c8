"""How the output of a cell in the background looks, whatever cell runs by then."""

from __future__ import annotations

import pytest
from screens import RecordingScreen

from rankbook.display.cells.background import BackgroundScreen
from rankbook.display.cells.cell import LiveOutput
from rankbook.models.events import Display

PNG = "iVBORw0KGgo=\n"


class Below(RecordingScreen):
    """A notebook that has gone on: what is new stands below another cell."""

    def __init__(self):
        super().__init__()
        self.background = BackgroundScreen(self)
        self.reserved = list(self.places)

    @property
    def astray(self):
        return [place for place in self.places if place not in self.reserved]

    @property
    def html(self):
        return self.shown[self.reserved[1]][0]["text/html"]

    @property
    def text(self):
        return self.shown[self.reserved[1]][0]["text/plain"]


@pytest.fixture
def below():
    return Below()


def html(text):
    return {"text/plain": text, "text/html": f"<b>{text}</b>"}


def test_text_grows_in_one_display(below):
    screen = below.background
    screen.write("stdout", "a\nb\n")
    screen.write("stderr", "c\n")
    screen.show({"text/plain": "[0] 42"}, {}, "v", update=False)
    screen.redraw("50%", "bar", first=True, final=False)
    screen.redraw("100%", "bar", first=False, final=True)
    assert below.shown[below.reserved[0]] == "a\nb\nc\n[0] 42\n100%"
    assert below.astray == []


def test_pictures_grow_in_another_in_their_order(below):
    below.background.show(html("[0]"), {}, "caption", update=False)
    png = {"text/plain": "<Figure>", "image/png": PNG}
    below.background.show(png, {"image/png": {"width": 7}}, "figure", update=False)
    below.background.show({"image/svg+xml": "<svg></svg>"}, {}, "drawn", update=False)
    assert below.html == (
        '<div><b>[0]</b></div><div><img alt="&lt;Figure&gt;" '
        'src="data:image/png;base64,iVBORw0KGgo=" width="7"></div><div><svg></svg></div>'
    )
    assert below.text == "[0]\n<Figure>\n"
    assert below.astray == []


def test_a_picture_that_is_updated_keeps_its_place(below):
    below.background.show(html("first"), {}, "a", update=False)
    below.background.show(html("second"), {}, "b", update=False)
    below.background.show(html("FIRST"), {}, "a", update=True)
    assert below.text == "FIRST\nsecond"


def test_a_widget_is_a_display_of_its_own(below):
    widget = {"text/plain": "Slider", "application/vnd.jupyter.widget-view+json": {}}
    below.background.show(widget, {}, "w", update=False)
    assert below.astray == ["w"]


def test_a_later_cell_updates_a_picture_where_it_stands(below):
    named = {}
    display = Display(html("loss 2"), display_id="loss")
    first = LiveOutput(below.background, [0], named=named)
    first.event(0, display)
    first.finish()
    later = LiveOutput(below, [0], named=named)
    later.event(0, Display(html("loss 1"), display_id="loss", update=True))
    later.finish()
    assert below.text == "[0]\nloss 1"
    assert below.astray == []


def test_a_flood_of_text_keeps_its_end_and_says_what_it_dropped(below):
    for number in range(1200):
        below.background.write("stdout", f"line {number}\n")
    lines = below.shown[below.reserved[0]].splitlines()
    assert lines[0] == "(700 lines above left out)"
    assert lines[1:] == [f"line {number}" for number in range(700, 1200)]


def test_a_flood_of_pictures_keeps_its_end_and_says_what_it_dropped(below):
    for number in range(5):
        large = {"text/plain": f"figure {number}", "text/html": "x" * 1_500_000}
        below.background.show(large, {}, str(number), update=False)
    assert below.text.splitlines() == ["(3 displays above left out)", "figure 3", "figure 4"]


def test_clear_output_empties_what_is_there(below):
    below.background.write("stdout", "a\n")
    below.background.show(html("figure"), {}, "d", update=False)
    below.background.clear(wait=True)
    below.background.write("stdout", "b\n")
    assert below.lines == ["b", "<>"]
    assert below.clears == 0
