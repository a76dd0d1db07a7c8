from __future__ import annotations

import re

import pytest
from page import Page
from samples import EVIL, EVIL_MEMBERS, member, snapshot

from rankbook.display.table import Table, to_html, to_text
from rankbook.models import Look, Snapshot

EVERYTHING = snapshot(
    member(0, "idle", 6),
    member(1, "running", 6, line="line 3: x.sum()", since=0.4, cell=5),
    member(2, "waiting", 6, call="all_reduce", line="line 2: f(x)", since=12.4, cell=5),
    member(3, "no answer", 6, host="", pid=0, memory=0),
    member(4, "gone", 6, host="", pid=0, memory=0, ended="was killed by SIGKILL"),
    member(5, "idle", 6, gpu_memory=2_000_000_000, last_error="ValueError: no\nsecond line"),
    Look("idle", engine=6, host="a", pid=106, memory=1_000_000),
    generation=3,
)

EVERYTHING_AS_TEXT = """\
gloo · 6 ranks · generation 3 · rank 4 ended · no answer from rank 3 · rank 2 in a collective · rank 1 running · ranks 0,5 idle · error on rank 5
 rank  state                                                     memory  device  engine  host  pid  local rank  backend  world size  main
    0  idle                                                      250 MB  cpu          0  a     100           0  gloo              6  yes
    1  running: line 3: x.sum()                                  250 MB  cpu          1  a     101           1  gloo              6  no
    2  collective: all_reduce (line 2: f(x)), 12 s               250 MB  cpu          2  a     102           2  gloo              6  no
    3  no answer                                                         cpu          3                      3  gloo              6  no
    4  ended: was killed by SIGKILL                                      cpu          4                      4  gloo              6  no
    5  idle                                         250 MB + 2.0 GB GPU  cpu          5  a     105           5  gloo              6  no
spare  idle                                                        1 MB               6  a     106
[5] ValueError: no"""  # noqa: E501


def test_the_table_shows_every_state_as_text():
    assert to_text(EVERYTHING) == EVERYTHING_AS_TEXT


def test_the_table_shows_every_state_as_html():
    page = Page(to_html(EVERYTHING))
    assert page.open == []
    assert page.caption == EVERYTHING_AS_TEXT.splitlines()[0]
    states = {row[0]: row[1] for row in page.rows[1:] if row[0]}
    assert states == {
        "0": "● idle",
        "1": "▶ running line 3: x.sum()",
        "2": "⇄ collective all_reduce (line 2: f(x)), 12 s",
        "3": "? no answer",
        "4": "✕ ended was killed by SIGKILL",
        "5": "● idle",
        "spare": "● idle",
    }


def test_the_table_has_the_same_words_in_text_and_html():
    page = Page(to_html(EVERYTHING))
    lines = to_text(EVERYTHING).splitlines()
    head, *rows = page.rows
    rows = [row for row in rows if len(row) == len(head)]  # without those of errors
    for row, line in zip([head, *rows], lines[1:-1], strict=True):
        place = 0
        for name, cell in zip(head, row, strict=True):
            for word in cell.split() if name != "state" else ():
                place = line.index(word, place) + len(word)
    assert page.rows[-2][-1] == "ValueError: no"
    assert lines[-1] == "[5] ValueError: no"


def test_the_table_without_a_group_is_only_a_headline():
    assert to_text(snapshot()) == "no process group · ready"
    html = to_html(snapshot())
    assert "no process group · ready" in html
    assert "<table" not in html


def test_engines_without_a_group_are_spare_in_the_table():
    page = Page(to_html(snapshot(Look("idle", engine=0, host="a", pid=1), Look("idle", engine=1))))
    assert [row[0] for row in page.rows[1:]] == ["spare", "spare"]


def test_the_table_tells_several_hosts_apart():
    page = Page(to_html(snapshot(member(0, host="left"), member(1, host="right"))))
    assert [row[5] for row in page.rows[1:]] == ["left", "right"]
    assert "2 hosts" in page.caption


def test_the_columns_of_the_text_table_are_aligned():
    lines = to_text(EVERYTHING).splitlines()[1:-1]
    start = lines[0].index("device")
    assert all(line[start - 2 : start] == "  " for line in lines)
    end = lines[0].index("rank") + len("rank")
    assert all(line[end : end + 2] == "  " for line in lines)


def test_changing_columns_stand_where_a_narrow_window_shows_them():
    assert to_text(EVERYTHING).splitlines()[1].split()[:3] == ["rank", "state", "memory"]


@pytest.mark.parametrize("evil", EVIL_MEMBERS)
def test_text_of_users_is_not_markup_in_the_table(evil):
    html = to_html(snapshot(member(0, world_size=1, **evil)))
    assert "<b " not in html
    assert "&lt;b onmouseover=" in html
    assert EVIL in "".join(cell for row in Page(html).rows for cell in row)


def test_an_error_cannot_leave_its_tooltip_in_the_table():
    html = to_html(snapshot(member(0, world_size=1, last_error='x" onclick="y')))
    [title] = [attrs["title"] for _, attrs in Page(html).tags if "title" in attrs]
    assert title == 'x" onclick="y'


def test_the_headline_of_the_table_is_escaped_with_and_without_ranks():
    assert "<i>" not in to_html(Snapshot("", 0, 0, "<i>"))
    assert "<i>" not in to_html(snapshot(member(0, world_size=1), doing="<i>"))


def test_a_long_error_in_the_table_is_cut_and_whole_in_its_tooltip():
    error = "ValueError: " + "x" * 200
    shown = snapshot(member(0, world_size=1, last_error=error))
    last = to_text(shown).splitlines()[-1]
    assert last.endswith("x …")
    assert len(last) <= len("[0] ") + 110
    assert f'title="{error}"' in to_html(shown)


def test_every_colour_in_the_table_comes_with_a_shape():
    """Take all colour away, and every state still has a word and a shape of its own."""
    page = Page(re.sub(r"color: [^;\"]*", "", to_html(EVERYTHING)))
    shapes = {cell.split()[0] for row in page.rows[1:] if len(row) > 9 for cell in [row[1]]}
    assert len(shapes) == 5


def test_shapes_in_the_table_are_hidden_from_screen_readers():
    marks = [attrs for tag, attrs in Page(to_html(EVERYTHING)).tags if tag == "span"]
    assert sum(attrs.get("aria-hidden") == "true" for attrs in marks) == len(EVERYTHING.states)


def test_the_table_has_a_caption_and_column_heads():
    page = Page(to_html(EVERYTHING))
    heads = [attrs for tag, attrs in page.tags if tag == "th"]
    assert heads
    assert all(attrs["scope"] == "col" for attrs in heads)
    assert any(tag == "caption" for tag, _ in page.tags)


def test_an_unknown_state_is_shown_by_its_word_in_the_table():
    html = to_html(snapshot(member(0, "compiling", 1)))
    assert Page(html).rows[1][1] == "· compiling"
    assert "compiling" in to_text(snapshot(member(0, "compiling", 1)))


def test_the_table_shows_itself_as_text_and_html():
    table = Table(EVERYTHING)
    assert repr(table) == EVERYTHING_AS_TEXT
    assert table._repr_html_() == to_html(EVERYTHING)


def test_the_html_table_needs_no_style_sheet_or_script():
    html = to_html(EVERYTHING)
    assert not re.search(r"<script|<link|<style|class=|https?:", html)
