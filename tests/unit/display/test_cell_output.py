"""How a cell's output looks, on a screen that records what is put on it."""

from __future__ import annotations

import pytest
from IPython.utils.capture import capture_output
from screens import RecordingScreen

from rankbook.display.cells.cell import LiveOutput
from rankbook.display.cells.screens import (
    NotebookScreen,
    TerminalScreen,
    screen_for,
)
from rankbook.models.events import Clear, Display, Result, Stream

INFINITY = float("inf")
RED, END = "\x1b[31m", "\x1b[0m"


class Cell:
    """A cell that runs on ranks, with a clock that moves only when told."""

    def __init__(self, n=2, named=None):
        self.screen = RecordingScreen()
        self.now = 50.0
        self.running = set(range(n))
        self.output = LiveOutput(self.screen, range(n), lambda: self.now, named=named)

    def say(self, rank, text, stream="stdout"):
        self.output.event(rank, Stream(stream, text))

    def display(self, rank, data, display_id="", metadata=None, *, update=False):
        self.output.event(rank, Display(data, metadata or {}, display_id, update))

    def update(self, rank, data, display_id):
        self.display(rank, data, display_id, update=True)

    def clear(self, rank, *, wait=False):
        self.output.event(rank, Clear(wait))

    def value(self, rank, text, html=None):
        data = {"text/plain": text} | ({"text/html": html} if html else {})
        self.output.event(rank, Result(data))

    def pause(self, seconds=0.0):
        self.now += seconds
        return self.output.pause(self.running)

    def end(self, *ranks):
        self.running -= set(ranks)

    def finish(self):
        self.running = set()
        self.output.finish()
        return self.screen.lines


def html(text):
    return {"text/plain": text, "text/html": f"<b>{text}</b>"}


# -- lines -----------------------------------------------------------------------------------


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


# -- bars ------------------------------------------------------------------------------------


def bar(cell, rank, text, stream="stderr"):
    cell.say(rank, f"\r{text}", stream)


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


# -- rich displays ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("wait", [True, False])
def test_clear_output_takes_back_text(wait):
    cell = Cell(2)
    for step in range(3):
        for rank in range(2):
            cell.clear(rank, wait=wait)
            cell.say(rank, f"step {step}\nloss of {rank}\n")
        cell.pause(0.2)
        assert cell.screen.lines == [f"[0-1] step {step}", "[0] loss of 0", "[1] loss of 1"]
    assert cell.finish() == ["[0-1] step 2", "[0] loss of 0", "[1] loss of 1"]


def test_clear_output_takes_back_several_displays_and_text_between_them():
    cell = Cell(1)
    for step in range(3):
        cell.clear(0, wait=True)
        cell.display(0, html(f"figure {step}"))
        cell.say(0, f"loss {step}\n")
        cell.display(0, html(f"table {step}"))
        cell.pause(0.2)
    assert cell.finish() == ["<[0]>", "<figure 2>", "[0] loss 2", "<[0]>", "<table 2>"]


def test_clear_output_of_one_rank_leaves_what_others_print():
    cell = Cell(3)
    for rank in range(3):
        cell.say(rank, "hello\n")
    cell.say(1, "mine\n")
    cell.pause(0.2)
    cell.clear(0)
    cell.pause(0.2)
    assert cell.screen.lines == ["[1-2] hello", "[1] mine"]
    assert cell.finish() == ["[1-2] hello", "[1] mine"]


def test_clear_output_that_waits_does_nothing_when_nothing_follows():
    cell = Cell(1)
    cell.say(0, "hello\n")
    cell.clear(0, wait=True)
    cell.pause(0.2)
    assert cell.finish() == ["[0] hello"]
    assert cell.screen.clears == 0


def test_clear_output_that_waits_is_obeyed_by_a_value():
    cell = Cell(1)
    cell.say(0, "hello\n")
    cell.clear(0, wait=True)
    cell.value(0, "42")
    assert cell.finish() == ["[0] 42"]


def test_clear_output_takes_back_an_open_line():
    cell = Cell(2)
    for step in range(3):
        for rank in range(2):
            cell.clear(rank, wait=True)
            cell.say(rank, f"step {step} of {rank}")
        cell.pause(0.2)
        cell.pause(0.2)
        assert cell.screen.lines == [f"[0] step {step} of 0", f"[1] step {step} of 1"]
    assert cell.finish() == ["[0] step 2 of 0", "[1] step 2 of 1"]


def test_an_update_of_what_was_taken_back_shows_nothing():
    cell = Cell(1)
    cell.display(0, html("old"), "d")
    cell.clear(0)
    cell.say(0, "next\n")
    cell.update(0, html("new"), "d")
    assert cell.finish() == ["[0] next"]


def test_an_update_is_no_output_that_clear_output_waits_for():
    cell = Cell(1)
    cell.say(0, "line\n")
    cell.display(0, html("old"), "d")
    cell.clear(0, wait=True)
    cell.update(0, html("new"), "d")
    assert cell.finish() == ["[0] line", "<[0]>", "<new>"]


def test_frames_keep_the_order_of_the_ranks_whichever_comes_first():
    cell = Cell(2)
    for step in range(4):
        for rank in (0, 1) if step % 2 else (1, 0):
            cell.clear(rank, wait=True)
            cell.display(rank, html(f"{step} of {rank}"))
            cell.pause(0.2)
        assert cell.screen.lines == ["<[0]>", f"<{step} of 0>", "<[1]>", f"<{step} of 1>"]


def test_equal_lines_of_a_frame_are_one_however_late_the_second_comes():
    cell = Cell(2)
    for rank in range(2):
        cell.clear(rank, wait=True)
        cell.say(rank, f"step 3\nrank {rank}\n")
        cell.pause(1)
    assert cell.screen.lines == ["[0-1] step 3", "[0] rank 0", "[1] rank 1"]


def test_ranks_that_depart_in_an_update_stand_in_their_order():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html("start"), "d")
    cell.pause(1)
    for rank in range(2):
        cell.update(rank, html(f"own {rank}"), "d")
        cell.pause(1)
    assert cell.finish() == ["<[0]>", "<own 0>", "<[1]>", "<own 1>"]


def test_a_quick_animation_is_redrawn_ten_times_a_second():
    cell = Cell(1)
    for step in range(1000):
        cell.clear(0, wait=True)
        cell.say(0, f"step {step}\n")
        cell.pause(0.001)
    assert 5 <= cell.screen.clears <= 15
    assert cell.finish() == ["[0] step 999"]


def test_what_the_session_says_is_not_taken_back():
    cell = Cell(2)
    cell.say(0, "hello\n")
    cell.output.note("Rank 1 was killed.")
    cell.clear(0)
    cell.say(0, "next\n")
    assert "! Rank 1 was killed." in cell.finish()


def test_a_terminal_keeps_what_is_cleared():
    cell = Cell(1)
    cell.screen.can_clear = False
    cell.say(0, "one\n")
    cell.clear(0, wait=True)
    cell.say(0, "two\n")
    assert cell.finish() == ["[0] one", "[0] two"]


def test_a_flood_before_clear_output_is_remembered_in_part():
    cell = Cell(2)
    for number in range(45_000):
        cell.say(0, f"line {number}\n")
    cell.say(1, "other\n")
    cell.pause(0.2)
    cell.say(1, "another\n")
    cell.pause(0.2)
    cell.clear(1)
    seen = cell.finish()
    assert seen[0].endswith("lines above left out)")
    assert seen[-1] == "[0] line 44999"
    assert len(seen) < 20_100


def test_clear_output_and_a_display_replace_the_display_before():
    cell = Cell(1)
    for number in range(3):
        cell.clear(0)
        cell.display(0, html(f"frame {number}"))
        cell.pause(0.2)
    assert cell.finish() == ["<[0]>", "<frame 2>"]


def test_clear_output_of_one_rank_leaves_the_displays_of_others():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html(f"first {rank}"))
    cell.clear(1)
    cell.display(1, html("second 1"))
    assert cell.finish() == ["<[0]>", "<first 0>", "<[1]>", "<second 1>"]


def test_clear_output_before_any_display_does_nothing():
    cell = Cell(2)
    for rank in range(2):
        cell.clear(rank)
        cell.display(rank, html("first"))
    assert cell.finish() == ["<[0-1]>", "<first>"]


def test_animation_frames_that_begin_to_differ_are_all_shown():
    cell = Cell(2)
    for rank in range(2):
        cell.display(rank, html("start"))
    for rank in range(2):
        cell.clear(rank)
        cell.display(rank, html(f"frame of {rank}"))
    seen = cell.finish()
    assert "<frame of 0>" in seen
    assert "<frame of 1>" in seen


def test_text_can_be_animated_with_update_display():
    cell = Cell(1)
    cell.display(0, {"text/plain": "step 0"}, "d")
    for number in range(1, 4):
        cell.update(0, {"text/plain": f"step {number}"}, "d")
    assert cell.finish()[-1] == "step 3"


# -- values ----------------------------------------------------------------------------------


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


# -- screens ---------------------------------------------------------------------------------


def test_a_notebook_shows_and_updates_displays_by_their_id(shell, capsys):
    with capture_output() as shown:
        screen = NotebookScreen()
        screen.show(html("old"), {"k": 1}, "d", update=False)
        screen.show(html("new"), {}, "d", update=True)
        screen.redraw("bar", "b", first=True, final=False)
        screen.redraw("BAR", "b", first=False, final=True)
    assert [(o.data, o.transient, o.update) for o in shown.outputs] == [
        (html("old"), {"display_id": "d"}, False),
        (html("new"), {"display_id": "d"}, True),
        ({"text/plain": "bar"}, {"display_id": "b"}, False),
        ({"text/plain": "BAR"}, {"display_id": "b"}, True),
    ]
    assert shown.outputs[0].metadata == {"k": 1}


@pytest.mark.parametrize(
    "screen", [NotebookScreen(), TerminalScreen()], ids=["notebook", "terminal"]
)
def test_a_screen_writes_to_the_stream_it_is_given(screen, capsys):
    screen.write("stdout", "out\n")
    screen.write("stderr", "err\n")
    assert capsys.readouterr() == ("out\n", "err\n")


def test_a_flood_goes_on_as_displays_where_the_server_would_drop_a_stream(shell, capsys):
    now = 0.0
    line = "x" * 99 + "\n"
    with capture_output() as shown:
        screen = NotebookScreen(clock=lambda: now)
        for _ in range(4):
            screen.write("stdout", line * 10_000)
        now = 3.5  # the server has forgotten by now
        screen.write("stdout", line)
    displays = [o.data["text/plain"] + "\n" for o in shown.outputs]
    assert len(shown.stdout) == 2_000_000 + len(line)
    assert len("".join(displays)) == 2_000_000
    assert set("".join([shown.stdout, *displays]).splitlines()) == {line.strip()}
    assert max(map(len, displays)) <= 200_000


def test_one_line_longer_than_a_message_is_not_cut(shell):
    with capture_output() as shown:
        NotebookScreen().write("stdout", "y" * 500_000 + "\nz\n")
    assert shown.stdout == "y" * 500_000 + "\nz\n"


def test_a_terminal_shows_plain_text_and_bars_only_when_final(capsys):
    screen = TerminalScreen()
    screen.show(html("figure"), {}, "d", update=False)
    screen.redraw("10%", "b", first=True, final=False)
    screen.redraw("100%", "b", first=False, final=True)
    screen.redraw("", "c", first=True, final=True)
    assert capsys.readouterr().out == "figure\n100%\n"


def test_a_screen_suits_its_shell(shell):
    assert isinstance(screen_for(shell), TerminalScreen)
    shell.kernel = object()
    assert isinstance(screen_for(shell), NotebookScreen)
