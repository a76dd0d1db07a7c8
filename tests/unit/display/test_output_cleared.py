"""What a cell takes back, and what it shows in its place."""

from __future__ import annotations

import pytest
from cell_output import Cell, html


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


def test_clear_output_does_not_remove_notes_of_the_session():
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
