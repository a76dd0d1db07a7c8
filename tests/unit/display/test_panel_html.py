"""The dashboard's HTML, whole and as people review it: the files in ``snapshots``.

After a change that is meant, ``RANKBOOK_NEW_SNAPSHOTS=1 python -m pytest`` on this file writes them
again; ``git diff`` then shows what has changed.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markup import outline, tree
from samples import (
    EVIL,
    GPU,
    HANG,
    HEALTHY,
    HUNG,
    LARGE,
    PANELS,
    many,
    member,
    shown,
    snapshot,
    with_gpu,
)

from rankbook.display.dashboard import ranks
from rankbook.display.dashboard.panel import Answer, Message, Panel, to_html

SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = os.environ.get("RANKBOOK_NEW_SNAPSHOTS") == "1"


def compare(name, html):
    file = SNAPSHOTS / f"{name}.html"
    if RENEW:
        file.write_text(outline(html), encoding="utf-8")
    assert outline(html) == file.read_text(encoding="utf-8"), (
        "if that is meant, write it again with RANKBOOK_NEW_SNAPSHOTS=1"
    )


@pytest.mark.parametrize("name", PANELS)
def test_the_panel_looks_as_reviewed(name):
    compare(name, to_html(PANELS[name]))


@pytest.mark.parametrize(("name", "count"), [("tiles", 17), ("dense", 129)])
def test_a_tile_looks_as_reviewed(name, count):
    """Of many tiles the one that has something to say."""
    states = many(count)
    html = ranks.to_html(states)
    assert len(tree(html).all("li")) == count
    start = html.index("<li class", html.index(f'<span class="rb-rank">{count - 3}</span>'))
    compare(name, html[start : html.index("</li>", start) + len("</li>")])


def test_every_snapshot_file_belongs_to_a_sample():
    assert {file.stem for file in SNAPSHOTS.glob("*.html")} == {*PANELS, *LARGE}


WORDS = "It is below `if rank == 0 < 1` often."


@pytest.mark.parametrize(
    "panel",
    [
        Panel(replace(HUNG, verdict=replace(HANG, hint=WORDS))),
        Panel(HEALTHY, message=Message(WORDS, "error")),
    ],
    ids=["the hint of a verdict", "the message of an action"],
)
def test_what_stands_between_backticks_in_a_sentence_is_code(panel):
    page = tree(to_html(panel))
    assert "if rank == 0 < 1" in [code.text for code in page.all("code")]
    assert "`" not in page.text


# -- what holds for each of them -------------------------------------------------------------


@pytest.fixture(params=[*PANELS, *LARGE])
def page(request):
    return tree(to_html((PANELS | LARGE)[request.param]))


with_rows = pytest.mark.parametrize(
    "page", [name for name in PANELS if name != "no_group"], indirect=True
)
"""Each panel but those without ranks, or with so many that each is a tile."""


def test_every_button_has_words_says_what_it_does_and_sends_no_form(page):
    assert page.has("button")
    for button in page.all("button"):
        assert button.text.strip()
        assert button["type"] == "button"
        assert button["data-do"]
    controls = page.one(kind="rb-controls").all("button")
    assert controls
    assert all(button["title"] for button in controls)


def test_every_field_has_a_label_and_a_name(page):
    labelled = [field for label in page.all("label") for field in label.all()]
    fields = page.all("input") + page.all("select")
    assert [field["name"] for field in fields] == ["nproc", "timeout", "backend"]
    for field in fields:
        assert field in labelled
    assert {label.text.split()[0] for label in page.all("label")} == {"Backend", "Ranks", "Timeout"}


def test_one_element_of_the_panel_announces_what_happens(page):
    """It is always there: a screen reader announces what changes in it, not that it comes."""
    assert len(page.all(role="status")) == 1


def test_regions_and_groups_of_the_panel_have_names_of_their_own(page):
    names = [its["aria-label"] for role in ("region", "group") for its in page.all(role=role)]
    assert all(names)
    assert len(names) == len(set(names))


@with_rows
def test_scrolling_parts_of_the_panel_can_be_reached_by_keyboard(page):
    found = page.all(kind="rb-scroll")
    assert found
    for its in found:
        assert its["tabindex"] == "0"
        assert its["role"] in {"region", "group"}


def test_the_panel_has_no_handlers_scripts_or_addresses(page):
    for its in page.walk():
        assert its.tag not in {"script", "style", "link", "iframe", "img", "form", "a"}
        assert not [name for name in its.attrs if name.startswith("on")]


def test_the_panel_can_be_shown_twice_on_a_page(page):
    """An id would be there twice."""
    for its in page.walk():
        assert not {"id", "for", "aria-labelledby", "aria-describedby"} & its.attrs.keys()


def test_drawings_are_hidden_from_screen_readers(page):
    drawn = page.all("svg") + page.all(kind="rb-mark") + page.all(kind="rb-bar")
    assert drawn
    assert {its["aria-hidden"] for its in drawn} == {"true"}


@with_rows
def test_columns_and_rows_of_the_panel_have_heads(page):
    tables = page.all("table", kind="rb-rows")
    assert tables
    for table in tables:
        assert {its["scope"] for its in table.one("thead").all("th")} == {"col"}
        for row in table.one("tbody").all("tr"):
            assert row.one("th")["scope"] == "row"


def test_the_panel_has_no_inline_styles(page):
    """But for what depends on a figure; and for what others show, too, in a saved notebook."""
    foreign = [its for kind in ("rb-verdict", "rb-answer") for its in page.all(kind=kind)]
    inside = {id(its) for each in foreign for its in each.walk()}
    for its in page.walk():
        if "style" in its.attrs and id(its) not in inside:
            assert re.fullmatch(r"width: \d+\.\d%", its["style"])


# -- text of others is escaped ---------------------------------------------------------------

ALMOST = replace(HANG, summary=EVIL, per_rank={0: EVIL})


@pytest.mark.parametrize(
    "panel",
    [
        shown(member(0, host=EVIL)),
        shown(member(0, "gone", ended=EVIL)),
        shown(member(0, "running", line=EVIL)),
        shown(member(0, "waiting", call=EVIL, line=EVIL)),
        shown(member(0, last_error=EVIL)),
        shown(member(0, EVIL)),
        shown(replace(member(0), info=replace(member(0).info, device=EVIL))),
        shown(replace(member(0), info=replace(member(0).info, backend=EVIL))),
        Panel(replace(HEALTHY, backend=EVIL)),
        Panel(replace(HEALTHY, cluster=EVIL)),
        Panel(replace(HEALTHY, doing=EVIL)),
        Panel(snapshot(doing=EVIL)),
        Panel(HEALTHY, backends=(EVIL,)),
        Panel(HEALTHY, message=Message(EVIL, "error")),
        Panel(HEALTHY, answer=Answer(EVIL, "")),
        Panel(replace(HEALTHY, verdict=ALMOST)),
        shown(with_gpu(member(0), replace(GPU, name=EVIL))),
    ],
    ids=[
        "host", "end", "line", "call", "last error", "state", "device", "backend of a rank",
        "backend", "cluster", "doing", "doing without a group", "backends", "message", "title",
        "verdict", "gpu",
    ],
)  # fmt: skip
def test_text_of_users_is_not_markup_in_the_panel(panel):
    html = to_html(panel)
    page = tree(html)
    assert not page.has("b")
    assert "&lt;b onmouseover=" in html
    assert EVIL in page.text


HELP = {"A new process for this rank: its variables are lost, those of the others stay"}


def test_text_of_users_cannot_leave_an_attribute_of_the_panel():
    breaks = 'x" onclick="y'
    page = tree(to_html(Panel(HUNG, answer=Answer(breaks, ""))))
    assert page.one(kind="rb-answer")["aria-label"] == breaks
    page = tree(to_html(shown(member(0, "running", line=breaks, last_error=breaks))))
    titles = {its["title"] for its in page.one("table").walk() if "title" in its.attrs}
    assert titles == {breaks, *HELP}
