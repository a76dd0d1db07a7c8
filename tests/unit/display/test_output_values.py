"""The values of a cell, and its end."""

from __future__ import annotations

from cell_output import Cell, bar


def test_values_are_shown_last_with_one_line_per_rank():
    cell = Cell()
    cell.value(1, "11")
    cell.value(0, "10")
    cell.say(0, "printed later\n")
    assert cell.finish() == ["[0] printed later", "[0] 10", "[1] 11"]


def test_equal_values_are_shown_once():
    cell = Cell(4)
    for rank, value in enumerate(["5", "7", "5", "5"]):
        cell.value(rank, value)
    assert cell.finish() == ["[0,2-3] 5", "[1] 7"]


def test_values_come_in_one_display_of_plain_text():
    cell = Cell()
    cell.value(0, "10")
    cell.value(1, "11")
    cell.finish()
    [place] = cell.screen.places
    assert cell.screen.shown[place] == ({"text/plain": "[0] 10\n[1] 11"}, {})


def test_further_lines_of_a_value_stand_below_its_first():
    cell = Cell()
    cell.value(0, "tensor([[1, 2],\n        [3, 4]])")
    assert cell.finish() == ["[0] tensor([[1, 2],", "            [3, 4]])"]


def test_a_rank_without_a_value_shows_none():
    cell = Cell(3)
    cell.value(1, "only here")
    assert cell.finish() == ["[1] only here"]


def test_values_with_html_have_a_caption():
    cell = Cell(3)
    cell.value(0, "df 0", "<table>0</table>")
    cell.value(1, "df 0", "<table>0</table>")
    cell.value(2, "df 2", "<table>2</table>")
    assert cell.finish() == ["<[0-1]>", "<df 0>", "<[2]>", "<df 2>"]


def test_values_are_equal_only_if_their_html_is():
    cell = Cell(2)
    cell.value(0, "same", "<b>0</b>")
    cell.value(1, "same", "<b>1</b>")
    assert cell.finish() == ["<[0]>", "<same>", "<[1]>", "<same>"]


def test_plain_values_stand_before_rich_ones():
    cell = Cell(2)
    cell.value(0, "rich", "<b>rich</b>")
    cell.value(1, "plain")
    assert cell.finish() == ["[1] plain", "<[0]>", "<rich>"]


def test_a_value_stands_below_an_unfinished_bar():
    cell = Cell(1)
    bar(cell, 0, "50%")
    cell.pause(0.2)
    cell.value(0, "42")
    assert cell.finish() == ["[0] 50%", "[0] 42"]


def test_a_cell_without_output_shows_nothing():
    cell = Cell()
    cell.pause(0.2)
    assert cell.finish() == []


def test_finishing_when_a_cell_was_interrupted_shows_what_was_held():
    cell = Cell(2)
    cell.say(0, "held\npartial")
    cell.output.finish()
    assert cell.screen.lines == ["[0] held", "[0] partial"]
