"""Whether a click is still meant when it arrives, and in which thread it does."""

from __future__ import annotations

import types

import pytest

from rankbook.widgets.clicks import LATEST, Click, why_stale
from rankbook.widgets.subshell import answer_beside_cells

ENDED = "the cell had ended already"


@pytest.mark.parametrize(
    ("during", "busy_with", "why"),
    [
        (0, 0, ""),
        (7, 7, ""),
        # A cell has begun since: a click in its first moments is meant for it as well.
        (0, 7, ""),
        # It has ended a moment ago, which the page did not show yet: nothing can be hit.
        (7, 0, ""),
        (7, 8, ENDED),
    ],
)
def test_a_click_counts_only_for_the_turn_that_the_page_showed(during, busy_with, why):
    assert why_stale(Click("reset", 0.1, during), busy_with) == why


@pytest.mark.parametrize(
    ("age", "why"),
    [
        (0.0, ""),
        (LATEST, ""),
        (LATEST + 1, "the kernel received it only 3 s later"),
        (3600.0, "the kernel received it only 3600 s later"),
    ],
)
def test_a_late_click_is_stale(age, why):
    assert why_stale(Click("reset", age), 0) == why
    assert why_stale(Click("reset", age, 7), 7) == why
    assert why_stale(Click("reset", age, 7), 0) == why


def test_an_ended_cell_is_reported_before_a_late_click():
    assert why_stale(Click("reset", 60, 7), 8) == ENDED


# -- the thread ------------------------------------------------------------------------------


def test_messages_of_a_widget_are_handled_in_the_subshell_of_the_front_end():
    detour = types.SimpleNamespace(_reply_subshell_for=lambda data, asked_for: "the cell's thread")
    answer_beside_cells(types.SimpleNamespace(comm=detour))
    assert detour._reply_subshell_for({}, "subshell-1") == "subshell-1"
    assert detour._reply_subshell_for({}, None) is None


def test_a_comm_without_subshells_is_left_alone():
    plain = types.SimpleNamespace()
    answer_beside_cells(types.SimpleNamespace(comm=plain))
    answer_beside_cells(types.SimpleNamespace(comm=None))
    assert vars(plain) == {}
