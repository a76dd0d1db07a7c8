"""What a session returns, as a front end without magics shows it."""

from __future__ import annotations

import pytest

from rankbook.display import faces
from rankbook.display.verdict import to_html
from rankbook.models import Diagnosis, Failure
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
