"""What a session returns, as a front end without magics shows it."""

from __future__ import annotations

import pytest

from rankbook.display import faces
from rankbook.display.verdict import to_html
from rankbook.models import CellOutcome, Diagnosis, Failure
from rankbook.models.diffs import Diff
from rankbook.models.events import Clear, Display
from rankbook.sessions.cells.collecting import Collector
from rankbook.sessions.cells.results import CellResult, RankResult

HUNG = Diagnosis(
    "missing_rank", (0,), "Rank 0 never called barrier #1.", {0: "idle", 1: "waits"}, stuck=(1,)
)


def result(*ranks, **about):
    return CellResult({its.rank: its for its in ranks}, **about)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (
            result(
                RankResult(0, "same\nI am 0\n", result_repr="tensor([1.])"),
                RankResult(1, "same\nI am 1\n", result_repr="tensor([1.])"),
            ),
            "[0-1] same\n[0] I am 0\n[1] I am 1\n[0-1] tensor([1.])",
        ),
        (result(RankResult(2, "no end"), RankResult(3)), "[2] no end"),
        (result(RankResult(0, stderr="look\n"), RankResult(1, "out\n")), "[0] look\n[1] out"),
        (
            result(RankResult(0), RankResult(1, error=Failure("ValueError", "no data", ("x",)))),
            "[1] x",
        ),
        (
            result(RankResult(1, error=Failure("ValueError", "no data", ("--", "Cell 1\n", "y")))),
            "[1] --\nCell 1\n\ny",
        ),
        (result(RankResult(0), RankResult(1)), "<CellResult: ok on ranks 0-1>"),
    ],
)
def test_a_result_shows_what_its_ranks_printed(cell, text):
    assert faces.text_of_result(cell) == text
    assert faces.html_of_result(cell).startswith("<pre ")


def test_a_cell_that_hung_shows_its_verdict_once():
    hung = result(RankResult(0), RankResult(1), diagnosis=HUNG, note="The ranks are free.")
    for shown in (faces.text_of_result(hung), faces.html_of_result(hung)):
        assert shown.count("never called barrier") == 1
        assert shown.count("The ranks are free.") == 1


def test_what_ranks_print_cannot_be_markup():
    assert "<b>" not in faces.html_of_result(result(RankResult(0, "<b>bold</b>\n")))


def test_every_front_end_asks_results_and_verdicts_for_their_html():
    faces.give_faces()
    cell = result(RankResult(0, "hello\n"))
    assert cell._repr_html_() == faces.html_of_result(cell)
    assert HUNG._repr_html_() == to_html(HUNG)


FIGURE = Display({"image/png": "iVBO", "text/plain": "<Figure size 640x480>"})


def test_a_result_shows_figures_under_their_ranks_and_equal_ones_once():
    table = Display({"text/html": "<b>1</b>", "text/plain": "1"})
    cell = result(*(RankResult(rank, displays=(FIGURE,)) for rank in (0, 1)), RankResult(2))
    cell.ranks[2].displays = (table, Display({"text/plain": "<b>"}))
    html = faces.html_of_result(cell)
    assert html.count("data:image/png;base64,iVBO") == 1
    labels = [html.index(label) for label in (">[0-1]<", ">[2]<", "<b>1</b>", "&lt;b&gt;")]
    assert labels == sorted(labels)
    assert "[0-1] <Figure size 640x480>" in faces.text_of_result(cell)


def test_a_result_keeps_what_a_rank_shows_at_the_end():
    collector = Collector([0], None)
    for event in (
        FIGURE,
        Clear(),
        Display({"text/plain": "1"}, display_id="a"),
        FIGURE,
        Display({"text/plain": "2"}, display_id="a", update=True),
        Display({"text/plain": "of another cell"}, display_id="b", update=True),
    ):
        collector.event(0, event)
    kept = collector.result({0: CellOutcome()}, {})[0].displays
    assert [display.data["text/plain"] for display in kept] == ["2", FIGURE.data["text/plain"]]


def test_a_comparison_shows_itself():
    faces.give_faces()
    diff = Diff("x", (0, 1), "x is the same on both ranks.")
    assert repr(diff) == diff.summary
    assert diff.summary in diff._repr_html_()
