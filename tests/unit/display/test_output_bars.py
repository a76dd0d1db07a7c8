"""Progress bars of a cell, on a screen that records what is put on it."""

from __future__ import annotations

from cell_output import Cell, bar, html


def test_a_bar_is_one_line_that_changes_in_place():
    cell = Cell(1)
    for percent in range(0, 101, 10):
        bar(cell, 0, f"{percent}%")
        cell.pause(0.2)
        assert cell.screen.lines == [f"[0] {percent}%"]
    cell.say(0, "\n", "stderr")
    assert cell.finish() == ["[0] 100%"]
    assert len(cell.screen.places) == 1


def test_every_rank_has_its_bar_in_the_order_of_the_ranks():
    cell = Cell(3)
    for rank in (2, 0, 1):
        bar(cell, rank, f"{rank}0%")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0] 00%", "[1] 10%", "[2] 20%"]
    bar(cell, 2, "90%")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0] 00%", "[1] 10%", "[2] 90%"]
    assert len(cell.screen.places) == 1


def test_equal_progress_bars_are_shown_once():
    cell = Cell(3)
    for rank in range(3):
        bar(cell, rank, "50%")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0-2] 50%"]
    bar(cell, 1, "60%")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0,2] 50%", "[1] 60%"]


def test_a_bar_is_not_redrawn_more_often_than_the_eye_needs():
    cell = Cell(1)
    bar(cell, 0, "0")
    cell.pause(0.2)
    for number in range(1000):
        bar(cell, 0, str(number))
        cell.pause(0.001)
    assert len(cell.screen.redraws) <= 12
    cell.finish()
    assert cell.screen.redraws[-1] == "[0] 999"


def test_a_bar_that_does_not_change_is_not_redrawn():
    cell = Cell(1)
    bar(cell, 0, "50%")
    for _ in range(10):
        cell.pause(0.2)
    assert cell.screen.redraws == ["[0] 50%"]


def test_a_fast_bar_leaves_only_what_it_ends_with():
    cell = Cell(1)
    for percent in range(101):
        bar(cell, 0, f"{percent}%")
    cell.say(0, "\n", "stderr")
    assert cell.finish() == ["! [0] 100%"]


def test_a_bar_without_an_end_stays_when_the_cell_ends():
    cell = Cell(2)
    bar(cell, 0, "50%")
    bar(cell, 1, "60%")
    cell.pause(0.2)
    bar(cell, 0, "70%")
    assert cell.finish() == ["[0] 70%", "[1] 60%"]
    assert all(cell.screen.final.values())


def test_a_bar_that_only_began_is_shown_when_the_cell_ends():
    cell = Cell(2)
    bar(cell, 0, "1%")
    bar(cell, 1, "1%")
    assert cell.finish() == ["! [0-1] 1%"]


def test_progress_bars_and_lines_in_turns_keep_their_order():
    cell = Cell(2)
    for rank in range(2):
        bar(cell, rank, "first 50%")
    cell.pause(0.2)
    for rank in range(2):
        bar(cell, rank, f"first 100% of {rank}")
        cell.say(rank, "\n", "stderr")
        cell.say(rank, f"line {rank}\n")
    cell.pause(0.2)
    for rank in range(2):
        bar(cell, rank, "second 50%")
    cell.pause(0.2)
    for rank in range(2):
        bar(cell, rank, "second 100%\n")
    assert cell.finish() == [
        "[0] first 100% of 0",
        "[1] first 100% of 1",
        "[0] line 0",
        "[1] line 1",
        "[0-1] second 100%",
    ]


def test_lines_of_one_rank_pass_below_the_running_bar_of_another():
    cell = Cell(2)
    bar(cell, 0, "10%")
    cell.pause(0.2)
    cell.say(1, "a line\n")
    cell.pause(0.2)
    bar(cell, 0, "20%")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0] 20%", "[1] a line"]


def test_two_bars_of_one_rank_one_after_the_other():
    cell = Cell(1)
    bar(cell, 0, "first 10%")
    cell.pause(0.2)
    bar(cell, 0, "first 100%\n")
    bar(cell, 0, "second 10%")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0] first 100%", "[0] second 10%"]
    bar(cell, 0, "second 100%\n")
    assert cell.finish() == ["[0] first 100%", "[0] second 100%"]


def test_bars_on_both_streams_of_one_rank_stand_below_each_other():
    cell = Cell(1)
    bar(cell, 0, "out", "stdout")
    bar(cell, 0, "err", "stderr")
    cell.pause(0.2)
    bar(cell, 0, "OUT", "stdout")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0] OUT", "[0] err"]


def test_a_bar_after_a_display_stands_below_it():
    cell = Cell(1)
    bar(cell, 0, "first 50%")
    cell.pause(0.2)
    cell.display(0, html("figure"))
    cell.pause(0.2)
    bar(cell, 0, "second 50%")
    cell.pause(0.2)
    assert cell.finish() == ["[0] first 50%", "<[0]>", "<figure>", "[0] second 50%"]


def test_a_bar_moving_the_cursor_is_one_line():
    cell = Cell(1)
    cell.say(0, "\r10%\x1b[K", "stderr")
    cell.pause(0.2)
    cell.say(0, "\r20%\x1b[K", "stderr")
    cell.pause(0.2)
    assert cell.screen.lines == ["[0] 20%"]


def test_an_endless_open_line_does_not_pile_up():
    cell = Cell(1)
    for number in range(20_000):
        bar(cell, 0, f"step {number}")
    [(text, _)] = cell.output._partial.values()
    assert len(text) < 2000
