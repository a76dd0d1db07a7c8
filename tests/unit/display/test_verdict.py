from __future__ import annotations

import re

import pytest
from looks import IDLE, PROVEN, judged, waits
from page import Page
from verdicts import CASES

from rankbook.display.verdict import Verdict, to_html, to_text
from rankbook.models import Diagnosis
from rankbook.ranks import parse

SHOWN = Diagnosis(
    "mismatch",
    (1,),
    "Rank 1 calls barrier #5, where ranks 0,2 call all_reduce #5.",
    {10: "idle: it runs no cell", 0: "waits in all_reduce #5", 1: "waits in barrier #5"},
    (0, 1),
    PROVEN,
)

SHOWN_AS_TEXT = """\
Rank 1 calls barrier #5, where ranks 0,2 call all_reduce #5.
ranks  part          what they do
    1  cause, stuck  waits in barrier #5
    0  stuck         waits in all_reduce #5
   10                idle: it runs no cell"""


def test_a_verdict_is_written_as_text():
    assert to_text(SHOWN) == SHOWN_AS_TEXT


def test_a_verdict_is_written_as_html():
    page = Page(to_html(SHOWN))
    assert page.open == []
    assert page.caption == f"◆ {SHOWN.summary}"
    assert page.rows == [
        ["ranks", "part", "what they do"],
        ["1", "◆ cause, stuck", "waits in barrier #5"],
        ["0", "■ stuck", "waits in all_reduce #5"],
        ["10", "", "idle: it runs no cell"],
    ]


def test_a_verdict_displays_itself():
    assert repr(Verdict(SHOWN)) == SHOWN_AS_TEXT
    assert Verdict(SHOWN)._repr_html_() == to_html(SHOWN)


def test_a_verdict_without_ranks_is_shown_as_its_sentence():
    nothing = Diagnosis("idle", (), "Every rank is idle.")
    assert to_text(nothing) == "Every rank is idle."
    assert "Every rank is idle." in to_html(nothing)
    assert "<table" not in to_html(nothing)


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_can_be_displayed(name):
    found = judged(CASES[name].looks)
    page = Page(to_html(found))
    if not found.per_rank:
        assert page.rows == []
        return
    named = [rank for row in page.rows[1:] for rank in parse(row[0], len(found.per_rank))]
    assert sorted(named) == sorted(found.per_rank)
    lines = to_text(found).splitlines()
    assert lines[0] == found.summary
    assert (lines[1] == found.hint) == bool(found.hint)
    causes = [row for row in page.rows[1:] if row[1].startswith("◆ cause")]
    assert [rank for row in causes for rank in parse(row[0], len(found.per_rank))] == list(
        found.ranks
    )
    assert page.rows[1 : 1 + len(causes)] == causes, "the cause stands first"


def test_text_of_the_user_is_escaped_in_a_verdict():
    evil = "line 1: <b onmouseover='x'>\"&"
    html = to_html(judged([waits(line=evil), IDLE]))
    assert "<b " not in html
    assert evil in Page(html).caption
    assert evil in Page(html).rows[2][2]


def test_a_verdict_says_nothing_by_colour_alone():
    plain = Page(re.sub(r"color: [^;\"]*", "", to_html(SHOWN)))
    assert [row[1].split()[1:] for row in plain.rows[1:]] == [["cause,", "stuck"], ["stuck"], []]


def test_a_verdict_hides_shapes_from_screen_readers_and_heads_its_columns():
    tags = Page(to_html(SHOWN)).tags
    assert {attrs["aria-hidden"] for tag, attrs in tags if tag == "span"} == {"true"}
    assert [attrs["scope"] for tag, attrs in tags if tag == "th"] == ["col"] * 3


def test_the_html_of_a_verdict_loads_nothing():
    assert not re.search(r"<script|<link|<style|class=|https?:", to_html(SHOWN))


def test_many_ranks_that_do_the_same_share_a_line():
    per_rank = {rank: f"waits in barrier for {7 + rank / 10:.1f} s" for rank in range(12)}
    per_rank[5] = "idle"
    stuck = tuple(rank for rank in per_rank if rank != 5)
    found = Diagnosis("missing_rank", (5,), "Rank 5 never came.", per_rank, stuck, proven=True)
    assert to_text(found).splitlines() == [
        "Rank 5 never came.",
        "   ranks  part   what they do",
        "       5  cause  idle",
        "0-4,6-11  stuck  wait in barrier for 7.0 s",
    ]
    assert [row[0] for row in Page(to_html(found)).rows] == ["ranks", "5", "0-4,6-11"]
