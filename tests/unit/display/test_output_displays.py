"""Rich displays of a cell, and their updates."""

from __future__ import annotations

import pytest
from cell_output import Cell, html

from rankbook.display.cells.cell import LiveOutput


def test_a_rich_display_has_a_caption_with_its_rank():
    cell = Cell()
    cell.display(1, html("figure"), metadata={"k": 1})
    assert cell.finish() == ["<[1]>", "<figure>"]
    assert cell.screen.shown[cell.screen.places[1]] == (html("figure"), {"k": 1})


@pytest.mark.parametrize(
    ("data", "captions"),
    [
        ({"text/plain": ""}, 0),
        ({"text/plain": "", "text/html": '<pre style="x"></pre>\n'}, 0),
        ({"text/plain": "", "text/html": "<svg></svg>"}, 1),
        ({"text/plain": "", "image/png": "x"}, 1),
        ({"text/plain": "None"}, 1),
    ],
)
def test_an_empty_display_has_no_caption(data, captions):
    cell = Cell(1)
    cell.display(0, data)
    assert cell.finish().count("<[0]>") == captions


def test_equal_displays_are_merged():
    cell = Cell(3)
    for rank in range(3):
        cell.display(rank, html("same"))
    assert cell.finish() == ["<[0-2]>", "<same>"]


def test_different_displays_stand_below_each_other():
    cell = Cell()
    cell.display(1, html("one"))
    cell.display(0, html("zero"))
    assert cell.finish() == ["<[0]>", "<zero>", "<[1]>", "<one>"]


def test_lines_and_displays_keep_their_order():
    cell = Cell(2)
    for rank in range(2):
        cell.say(rank, "before\n")
        cell.display(rank, html(f"figure {rank}"))
        cell.say(rank, "after\n")
    assert cell.finish() == [
        "[0-1] before",
        "<[0]>",
        "<figure 0>",
        "<[1]>",
        "<figure 1>",
        "[0-1] after",
    ]


def test_an_open_line_stands_before_the_display_that_follows_it():
    cell = Cell(1)
    cell.say(0, "no newline")
    cell.display(0, html("figure"))
    assert cell.finish() == ["[0] no newline", "<[0]>", "<figure>"]


def test_update_display_changes_it_in_place():
    cell = Cell(1)
    cell.display(0, html("old"), "d")
    cell.say(0, "line\n")
    cell.update(0, html("new"), "d")
    assert cell.finish() == ["<[0]>", "<new>", "[0] line"]


def test_an_equal_update_of_all_ranks_changes_it_once():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html("old"), "d")
        cell.update(rank, html("new"), "d")
    assert cell.finish() == ["<[0-1]>", "<new>"]


def test_ranks_with_the_same_display_id_have_displays_of_their_own():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html(f"old {rank}"), "d")
    for rank in range(2):
        cell.update(rank, html(f"new {rank}"), "d")
    assert cell.finish() == ["<[0]>", "<new 0>", "<[1]>", "<new 1>"]


def test_a_merged_display_that_ranks_update_differently_loses_none():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html("start"), "d")
    for rank in range(2):
        cell.update(rank, html(f"progress of {rank}"), "d")
    seen = cell.finish()
    assert "<progress of 0>" in seen
    assert "<progress of 1>" in seen


def test_displays_of_their_own_that_are_updated_alike_are_both_updated():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html(f"old {rank}"), "d")
    for rank in range(2):
        cell.update(rank, html("done"), "d")
    seen = cell.finish()
    assert "<done>" in seen
    assert not [line for line in seen if "old" in line]


def test_an_update_of_what_was_never_shown_is_shown():
    cell = Cell(1)
    cell.update(0, html("late"), "unknown")
    assert cell.finish() == ["<[0]>", "<late>"]


def test_an_update_in_a_later_cell_changes_the_display_of_the_earlier_one():
    named = {}
    earlier, later = Cell(2, named), Cell(2, named)
    later.output = LiveOutput(earlier.screen, range(2), lambda: 0.0, named=named)
    earlier.display(0, html("old"), "d")
    earlier.finish()
    later.update(0, html("new"), "d")
    later.output.finish()
    assert earlier.screen.lines == ["<[0]>", "<new>"]


def test_an_update_by_one_rank_in_a_later_cell_leaves_the_display_of_the_others():
    named = {}
    earlier, later = Cell(2, named), Cell(2, named)
    later.output = LiveOutput(earlier.screen, range(2), lambda: 0.0, named=named)
    for rank in range(2):
        earlier.display(rank, html("old"), "d")
    earlier.finish()
    later.update(1, html("new"), "d")
    later.output.finish()
    assert earlier.screen.lines == ["<[0]>", "<old>", "<[1]>", "<new>"]


def test_a_second_display_of_a_name_is_one_more_and_changes_the_first():
    cell = Cell(1)
    cell.display(0, html("old"), "d")
    cell.display(0, html("new"), "d")
    assert cell.finish() == ["<[0]>", "<new>", "<[0]>", "<new>"]


def test_a_rank_that_departs_in_an_update_has_its_own_display_beside_the_others():
    cell = Cell(3)
    for rank in range(3):
        cell.display(rank, html("start"), "d")
    cell.say(0, "below\n")
    cell.pause(0.2)
    cell.update(1, html("another"), "d")
    assert cell.finish() == ["<[0,2]>", "<start>", "<[1]>", "<another>", "[0] below"]
