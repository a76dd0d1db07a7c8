"""Lines that a cell prints, on a screen that records what is put on it."""

from __future__ import annotations

from cell_output import Cell

INFINITY = float("inf")
RED, END = "\x1b[31m", "\x1b[0m"


def test_a_line_carries_its_rank():
    cell = Cell()
    cell.say(1, "hello\n")
    assert cell.finish() == ["[1] hello"]


def test_an_equal_line_of_all_ranks_is_shown_once():
    cell = Cell(4)
    for rank in range(4):
        cell.say(rank, "hello\n")
    cell.pause()
    assert cell.screen.lines == ["[0-3] hello"]
    assert cell.finish() == ["[0-3] hello"]


def test_a_line_that_comes_in_pieces_is_one_line():
    cell = Cell(1)
    for piece in ("a", " ", "line", "\nan", "other\n"):
        cell.say(0, piece)
        cell.pause()
    assert cell.screen.lines == ["[0] a line", "[0] another"]


def test_pieces_of_several_ranks_do_not_mix():
    cell = Cell()
    cell.say(0, "from ")
    cell.say(1, "from ")
    cell.say(0, "zero\n")
    cell.say(1, "one\n")
    assert cell.finish() == ["[0] from zero", "[1] from one"]


def test_text_without_a_final_newline_is_shown():
    cell = Cell(1)
    cell.say(0, "whole\nrest")
    assert cell.finish() == ["[0] whole", "[0] rest"]


def test_the_unfinished_line_of_a_rank_is_shown_when_the_rank_ends():
    cell = Cell()
    cell.say(0, "rest")
    cell.end(0)
    cell.pause()
    cell.pause(0.06)
    assert cell.screen.lines == ["[0] rest"]


def test_equal_unfinished_lines_of_all_ranks_are_shown_once():
    cell = Cell()
    cell.say(0, "rest")
    cell.say(1, "rest")
    assert cell.finish() == ["[0-1] rest"]


def test_empty_lines_and_indentation_are_kept_in_output():
    cell = Cell(1)
    cell.say(0, "a\n\n    b  \n")
    assert cell.finish() == ["[0] a", "[0] ", "[0]     b  "]


def test_unicode_and_colours_are_kept_in_output():
    cell = Cell(1)
    cell.say(0, f"é 語 🙂\n{RED}red{END}\n")
    assert cell.finish() == ["[0] é 語 🙂", f"[0] {RED}red{END}"]


def test_lines_are_the_same_only_with_the_same_colours():
    cell = Cell()
    cell.say(0, "word\n")
    cell.say(1, f"{RED}word{END}\n")
    assert cell.finish() == ["[0] word", f"[1] {RED}word{END}"]


def test_windows_line_ends_are_line_ends():
    cell = Cell(1)
    cell.say(0, "a\r\nb\r\n")
    assert cell.finish() == ["[0] a", "[0] b"]


def test_streams_of_one_rank_keep_their_order():
    cell = Cell(1)
    cell.say(0, "out 1\n")
    cell.say(0, "err\n", "stderr")
    cell.say(0, "out 2\n")
    assert cell.finish() == ["[0] out 1", "! [0] err", "[0] out 2"]


def test_streams_of_all_ranks_keep_their_order():
    cell = Cell(3)
    for rank in (1, 2, 0):
        cell.say(rank, "out\n")
        cell.say(rank, "err\n", "stderr")
        cell.say(rank, f"mine {rank}\n")
    assert cell.finish() == ["[0-2] out", "! [0-2] err", "[0] mine 0", "[1] mine 1", "[2] mine 2"]


def test_a_burst_of_lines_is_one_write():
    cell = Cell(1)
    written = []
    cell.screen.write = lambda name, text: written.append((name, text))
    cell.say(0, "a\nb\n")
    cell.say(0, "c\n", "stderr")
    cell.pause()
    assert written == [("stdout", "[0] a\n[0] b\n"), ("stderr", "[0] c\n")]


def test_pause_returns_the_seconds_until_the_next_call():
    cell = Cell()
    assert cell.pause() == INFINITY
    cell.say(0, "held for rank 1\n")
    wait = cell.pause()
    assert 0 < wait <= 0.05
    assert cell.screen.lines == []
    assert cell.pause(wait + 1e-9) == INFINITY
    assert cell.screen.lines == ["[0] held for rank 1"]


def test_an_open_line_is_shown_as_it_stands_after_a_moment():
    cell = Cell(1)
    cell.say(0, "Loading ... ")
    wait = cell.pause()
    assert cell.screen.lines == []
    assert 0 < wait <= 1.0  # longer than a bar: its end is mostly on its way
    cell.pause(wait + 1e-9)
    assert cell.screen.lines == ["[0] Loading ... "]
    cell.say(0, "done\nnext\n")
    cell.pause(0.2)
    assert cell.finish() == ["[0] Loading ... done", "[0] next"]
