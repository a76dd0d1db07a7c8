"""The selftest without its processes: steps, bounds of time, and what the report says."""

from __future__ import annotations

import json
import os
import time

import pytest

import rankbook
from rankbook.selftest import __main__ as command
from rankbook.selftest import child, machine, parent, report
from rankbook.selftest.parts import PARTS, named, order
from rankbook.selftest.steps import (
    FAILED,
    NOT_RUN,
    PASSED,
    NotRunError,
    Outcome,
    Part,
    Step,
    check,
    expect,
    until,
)


def passes(scene):
    return "seen"


def fails(scene):
    expect(1, 2, "the number")


def cannot(scene):
    raise NotRunError("no such thing here")


def told_by(*steps):
    events = []
    child.run(Part("a part", steps), events.append)
    return events


def test_a_step_that_returns_has_passed():
    first, last = told_by(Step("it works", passes))
    assert first == {"begin": "it works"}
    assert (last["outcome"], last["detail"]) == (PASSED, "seen")


def test_a_step_that_raises_has_failed_in_one_line(capsys):
    _, last = told_by(Step("it works", fails))
    assert last["outcome"] == FAILED
    assert last["detail"] == "AssertionError: the number: expected 2, and it is 1"
    assert "Traceback" in capsys.readouterr().err  # the whole is in the log


def test_an_error_of_ours_is_reported_by_its_message_alone():
    def refused(scene):
        raise rankbook.DeviceError("nccl needs GPUs")

    _, last = told_by(Step("it works", refused))
    assert (last["outcome"], last["detail"]) == (FAILED, "nccl needs GPUs")


def test_a_step_says_why_it_cannot_be_run():
    _, last = told_by(Step("it works", cannot))
    assert (last["outcome"], last["detail"]) == (NOT_RUN, "no such thing here")


def test_after_a_failure_the_next_step_is_run():
    assert [e["outcome"] for e in told_by(Step("a", fails), Step("b", passes)) if "end" in e] == [
        FAILED,
        PASSED,
    ]


@pytest.mark.parametrize("first", [fails, cannot])
def test_without_a_vital_step_the_rest_is_not_run(first):
    events = told_by(Step("a", first, vital=True), Step("b", passes))
    assert events[-1]["outcome"] == NOT_RUN
    assert events[-1]["detail"] == "without this: a"


def followed(part, *events, seconds=60.0, closed=False):
    """Outcomes of a part whose child has written these events, and perhaps has ended."""
    read, write = os.pipe()
    try:
        os.write(write, b"".join(json.dumps(event).encode() + b"\n" for event in events))
        if closed:
            os.close(write)
        return list(parent._follow(part, parent._Events(read), time.monotonic() + seconds))
    finally:
        os.close(read)
        if not closed:
            os.close(write)


def ended(name, outcome=PASSED, detail="", seconds=1.5):
    return {"end": name, "outcome": outcome, "detail": detail, "seconds": seconds}


TWO = Part("a part", (Step("a", passes, 0.2), Step("b", passes, 0.2)))


def test_what_the_child_tells_becomes_the_outcomes():
    found = followed(TWO, {"begin": "a"}, ended("a", detail="seen"), {"begin": "b"}, ended("b"))
    assert found == [
        Outcome("a part", "a", PASSED, "seen", 1.5),
        Outcome("a part", "b", PASSED, "", 1.5),
    ]


def test_a_step_that_does_not_end_has_failed_and_the_rest_is_not_run():
    first, second = followed(TWO, {"begin": "a"})
    assert (first.outcome, first.detail) == (FAILED, "it did not end within 0.2 s")
    assert 0.2 <= first.seconds < 5
    assert second == Outcome("a part", "b", NOT_RUN, "its process was gone after this: a")


def test_a_child_that_ends_in_a_step_has_failed_in_it():
    first, second = followed(TWO, {"begin": "a"}, closed=True)
    assert (first.outcome, first.detail) == (FAILED, "its process ended in the middle of it")
    assert second.outcome == NOT_RUN


def test_a_step_that_the_end_of_the_minutes_cuts_was_not_run():
    patient = Part("a part", (Step("a", passes, 60), Step("b", passes, 60)))
    found = followed(patient, {"begin": "a"}, seconds=parent.SHORTEST + 0.2)
    assert [(o.outcome, o.detail) for o in found] == [(NOT_RUN, "the minutes were over")] * 2


def test_nothing_is_begun_when_the_minutes_are_over(tmp_path):
    found = list(parent.run_part(TWO, tmp_path, time.monotonic() + 1))
    assert [(o.outcome, o.detail) for o in found] == [(NOT_RUN, "the minutes were over")] * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("needs", "has", "reason"),
    [
        (1, 0, "needs 1 GPU, and this machine shows none"),
        (2, 1, "needs 2 GPUs, and this machine shows 1"),
    ],
)
def test_what_needs_more_gpus_is_not_run(tmp_path, needs, has, reason):
    part = Part("a part", (Step("a", passes),), gpus=needs)
    assert list(parent.run_parts([part], tmp_path, 1, has)) == [
        Outcome("a part", "a", NOT_RUN, reason)
    ]


def test_names_of_selftest_steps_are_unique():
    assert len({part.name for part in PARTS}) == len(PARTS)
    for part in PARTS:
        assert len({step.name for step in part.steps}) == len(part.steps), part.name
        assert named(part.name) is part


def test_the_walk_is_first_and_the_gpus_are_where_they_are_asked_for():
    assert order(gpu_first=False)[0].gpus == 0
    assert order(gpu_first=True)[0].gpus > 0
    assert set(order(gpu_first=True)) == set(PARTS)


def test_the_first_steps_are_those_without_which_nothing_goes():
    assert all(part.steps[0].vital for part in PARTS if part.name in {"walk", "nccl"})


OUTCOMES = [
    Outcome("walk", "it starts", PASSED, "1.5 s", 1.5),
    Outcome("walk", "it hangs well", FAILED, "AssertionError: no verdict", 20),
    Outcome("nccl", "it starts", NOT_RUN, "needs 1 GPU"),
    Outcome("nccl", "it reduces", NOT_RUN, "needs 1 GPU"),
]


def test_the_text_says_all_and_repeats_nothing():
    about = {"when": "2026-11-27 19:24 UTC", "versions": {"torch": "2.11.0"}, "gpus": 0}
    assert report.text(about, OUTCOMES, {"walk": "first\nlast"}) == (
        "rankbook selftest, 2026-11-27 19:24 UTC\n"
        "\n"
        "versions: torch 2.11.0\n"
        "gpus: 0\n"
        "\n"
        "[walk]\n"
        "ok     1.5 s  it starts: 1.5 s\n"
        "NO    20.0 s  it hangs well: AssertionError: no verdict\n"
        "\n"
        "[nccl]\n"
        "-             it starts: needs 1 GPU\n"
        "\n"
        "1 passed, 1 failed, 2 not run\n"
        "\n"
        "--- the end of the log of walk\n"
        "first\n"
        "last\n"
    )


def test_the_json_has_every_step(tmp_path):
    path = report.write(tmp_path, {"gpus": 0}, OUTCOMES, {"walk": "a log"})
    assert path.read_text().startswith("rankbook selftest")
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["counts"] == {PASSED: 1, FAILED: 1, NOT_RUN: 2}
    assert [check["step"] for check in found["checks"]] == [o.step for o in OUTCOMES]
    assert found["logs"] == {"walk": "a log"}


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["--gpu"], "--gpu needs a GPU, and this machine shows none"),
        (["--minutes", "0"], "--minutes 0 is not a time: use 2, for example"),
        (["--minutes", "nan"], "--minutes nan is not a time: use 2, for example"),
        (["--out", "/proc/nothing"], "--out /proc/nothing: No such file or directory"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(
    arguments, refusal, monkeypatch, capsys
):
    monkeypatch.setattr(machine, "gpu_count", lambda: 0)
    assert command.main(arguments) == 2
    assert capsys.readouterr() == ("", f"rankbook.selftest: {refusal}\n")


@pytest.mark.parametrize(
    ("outcomes", "status"), [(OUTCOMES, 1), ([OUTCOMES[0], OUTCOMES[2]], 0), ([], 0)]
)
def test_the_exit_code_says_whether_something_failed(
    outcomes, status, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(machine, "gpu_count", lambda: 0)
    monkeypatch.setattr(machine, "describe", lambda: {"gpus": 0})
    monkeypatch.setattr(command, "run_parts", lambda *_: iter(outcomes))
    for part in PARTS:
        parent.log_of(part, tmp_path).touch()
    assert command.main(["--out", str(tmp_path)]) == status
    assert f"Report: {tmp_path}/report.txt\n" in capsys.readouterr().out


def test_ctrl_c_still_leaves_a_report(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        yield OUTCOMES[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "gpu_count", lambda: 0)
    monkeypatch.setattr(machine, "describe", lambda: {"gpus": 0})
    monkeypatch.setattr(command, "run_parts", interrupted)
    assert command.main(["--out", str(tmp_path)]) == 130
    assert "1 passed, 0 failed, 0 not run" in (tmp_path / "report.txt").read_text()
    assert "Report: " in capsys.readouterr().out


def test_until_waits_for_its_condition_and_no_longer():
    until([False, False, True].pop, 5, "it comes")
    with pytest.raises(TimeoutError, match=r"not within 0\.1 s: it comes"):
        until(lambda: False, 0.1, "it comes")


def test_check_says_what_does_not_hold():
    check([1], "there is something")
    with pytest.raises(AssertionError, match="this is not so: there is something"):
        check([], "there is something")
