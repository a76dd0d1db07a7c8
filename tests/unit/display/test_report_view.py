"""A report as text and as HTML."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from markup import tree
from samples import EVIL, HANG, HEALTHY, REPORT

from rankbook import reports
from rankbook.display.report import to_html, to_text
from rankbook.models import CellSpan, Look, to_dict
from rankbook.models.report import Report


def test_a_report_as_text():
    text = to_text(REPORT)
    head, *_ = text.split("\n\n")
    assert head == "Report of a cell that hangs · 2023-11-14 22:13:20 UTC · host a · rankbook 0.1"
    assert HANG.summary in text
    assert "   1  cause  runs line 3: other(x)" in text
    assert "gloo · 2 ranks · generation 1" in text
    assert "In [5] on ranks 0-1: it has run for 20.0 s\n2  x = 1\n3  dist.all_reduce(x)" in text
    assert (
        "rank 0  waits in all_reduce #7 of 2x3 float32 for 3.5 s (line 2: dist.all_reduce(x)); "
        "latest calls: all_reduce #7 (open)"
    ) in text
    assert "rank 1  was killed by SIGKILL\n  Killed" in text
    assert 'rank 0\n  File "a.py", line 1, in f' in text
    assert (
        "Local variables when the report was made\n"
        "[0] In [5] line 3: dist.all_reduce(x)\n      x: float32 [2, 3]\n[1] no cell runs"
    ) in text
    assert "What the ranks run with\n2 ranks on 1 host · torch differs\n" in text
    assert "python    3.12.1" in text
    assert "NCCL_DEBUG  INFO" in text
    assert text.endswith(REPORT.contents)


def test_the_report_of_a_freed_cell_says_that_it_ended():
    snapshot = replace(HEALTHY, verdict=HANG)
    cell = CellSpan(0, "f()", 10.0, 12.5, "f()", (1,), name="cell 3")
    text = to_text(replace(REPORT, snapshot=snapshot, cell=cell))
    assert text.startswith("Report of a cell that could not end · ")
    assert "Cell 3 on rank 1: it ended after 2.5 s\n1  f()" in text


def test_unknown_parts_of_a_report_have_no_heading():
    text = to_text(Report(0.0, "a", HEALTHY))
    assert text.startswith("Report of a session · 1970-01-01 00:00:00 UTC · host a")
    for heading in ("In [", "Stacks", "Versions", "Variables", "Local", "What each rank"):
        assert heading not in text


def test_the_html_has_everything_that_the_text_has():
    page = tree(to_html(REPORT))
    told = " ".join(page.text.split())
    for part in (HANG.summary, "dist.all_reduce(x)", "NCCL_DEBUG INFO", "3.12.1", REPORT.contents):
        assert part in told
    assert [summary.text for summary in page.all("summary")] == [
        "In [5] on ranks 0-1: it has run for 20.0 s",
        "What each rank did when the report was made",
        "Stacks when the report was made",
        "Local variables when the report was made",
        "What the ranks run with",
        "Versions in the notebook's kernel, on a",
        "Variables of the environment there",
    ]
    assert len(page.all("table")) == 3


def evil(value):
    """The same with markup in every text."""
    if isinstance(value, str):
        return EVIL
    if isinstance(value, tuple):
        return tuple(map(evil, value))
    if isinstance(value, dict):
        return {key if isinstance(key, int) else EVIL: evil(one) for key, one in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return replace(value, **{name: evil(one) for name, one in vars(value).items()})
    return value


def test_nothing_in_a_report_becomes_markup():
    page = tree(to_html(evil(REPORT)))
    assert not page.all("b")
    assert not [element for element in page.walk() if "onmouseover" in element.attrs]


@pytest.mark.parametrize("state", ["idle", "running", "waiting", "no answer", "gone", "other"])
def test_a_look_in_any_state_can_be_shown(state):
    assert "rank 3  " in to_text(Report(0.0, "a", HEALTHY, looks={3: Look(state)}))


def test_another_process_shows_a_report_and_imports_nothing_large(tmp_path):
    place = reports.refuse(tmp_path / "hang.json")
    reports.write(place, "", to_dict(REPORT))
    code = (
        "import sys, rankbook\n"
        f"report = rankbook.load_report({str(place)!r})\n"
        "print(report, report._repr_html_())\n"
        "large = {'torch', 'IPython', 'ipyparallel', 'ipywidgets', 'numpy'} & set(sys.modules)\n"
        "assert not large, large"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert HANG.summary in done.stdout
