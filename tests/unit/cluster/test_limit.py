"""When an allocation ends: it is counted down, and a user is warned twice."""

from __future__ import annotations

import pytest

from rankbook.cluster.launchers.limit import TimeLimit
from rankbook.display.dashboard.panel import Panel, to_html
from rankbook.display.facts import headline
from rankbook.models import Snapshot
from rankbook.words import in_minutes


def test_a_user_is_warned_at_ten_and_at_two_minutes_once_each():
    now = [0.0]
    limit = TimeLimit("job 8", 3600, lambda: now[0])
    warned = {}
    for now[0] in range(0, 3601, 10):
        if words := limit.due_warning():
            warned[now[0]] = words
    assert warned == {
        3000: "job 8 ends in 10 min: what its ranks hold is lost then.",
        3480: "job 8 ends in 2 min: what its ranks hold is lost then.",
    }
    assert limit.seconds_left == 0


def test_a_late_session_is_warned_once_of_the_time_limit():
    limit = TimeLimit("job 8", 100, lambda: 0)
    assert limit.due_warning() == "job 8 ends in 1 min: what its ranks hold is lost then."
    assert limit.due_warning() == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(7500, "2 h 5 min"), (599, "9 min"), (40.7, "40 s"), (0, "0 s")]
)
def test_a_time_is_said_in_minutes(seconds, words):
    assert in_minutes(seconds) == words


@pytest.mark.parametrize(("left", "kind"), [(2520.0, "rb-limit"), (540.0, "rb-error")])
def test_the_dashboard_shows_the_time_that_is_left(left, kind):
    snapshot = Snapshot("gloo", 4, 1, "", ends="job 8", ends_in=left)
    words = f"job 8 ends in {in_minutes(left)}"
    assert f'<p class="rb-message {kind}">{words}</p>' in to_html(Panel(snapshot))
    assert words in headline(snapshot)
    assert "ends in" not in to_html(Panel(Snapshot("gloo", 4, 1, "")))


def test_a_job_that_has_ended_is_not_counted_down_any_more():
    why = "Slurm ended job 8: it was cancelled"
    snapshot = Snapshot("gloo", 4, 1, "", ends="job 8", ends_in=540.0, ended=why)
    assert f'<p class="rb-message rb-error">{why}</p>' in to_html(Panel(snapshot))
    assert why in headline(snapshot)
    assert "ends in" not in to_html(Panel(snapshot)) + headline(snapshot)
    limit = TimeLimit("job 8", 100, lambda: 0)
    limit.ended = why
    assert limit.due_warning() == ""
