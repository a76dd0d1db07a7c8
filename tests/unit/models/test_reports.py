"""The file of a report: its permissions, what overwrites it, what is not a report."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from samples import HANG, HUNG, REPORT

import rankbook
from rankbook import reports
from rankbook.display.report import LoadedReport
from rankbook.errors import ReportError
from rankbook.models import load, to_dict
from rankbook.models.report import Report


def saved(folder, report=REPORT, name="hang.json"):
    place = reports.refuse(folder / name)
    reports.write(place, report.contents, to_dict(report))
    return place


def names(folder):
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]


def changed(path, **fields):
    """Change the file of a report."""
    data = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))
    return path


def refused(path):
    """What is said of a file that cannot be loaded: one line."""
    with pytest.raises(ReportError) as caught:
        rankbook.load_report(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_report_is_loaded_as_it_was_saved(tmp_path):
    assert reports.read(saved(tmp_path), Report) == REPORT


def test_a_loaded_report_has_the_fields_that_were_saved(tmp_path):
    loaded = rankbook.load_report(saved(tmp_path))
    assert type(loaded) is LoadedReport
    assert loaded.verdict.per_rank == HANG.per_rank
    assert to_dict(loaded) == to_dict(REPORT)


def test_the_smallest_report_is_loaded(tmp_path):
    smallest = Report(0.0, "", replace(HUNG, states=(), verdict=None))
    assert reports.read(saved(tmp_path, smallest), Report) == smallest


def test_the_file_says_what_it_contains(tmp_path):
    about = json.loads(saved(tmp_path).read_text())["about"]
    assert about == REPORT.contents
    assert "the verdict" in about
    assert "local variables of the functions that they ran, in short" in about
    assert "no other values of variables" in about
    assert "masked, in 2 places" in about


def test_the_contents_line_leaves_out_missing_parts():
    nothing = Report(0.0, "a", HUNG)
    assert "verdict" not in nothing.contents
    assert "stacks" not in nothing.contents
    assert "code" not in nothing.contents
    assert "local variables" not in nothing.contents
    assert "no values of variables" in nothing.contents


def test_half_of_a_surrogate_pair_can_be_saved(tmp_path):
    report = replace(REPORT, host="a\ud83d")
    assert reports.read(saved(tmp_path, report), Report).host == "a\\ud83d"


# -- writing ---------------------------------------------------------------------------------


@pytest.fixture
def generous():
    """An umask with which everyone can read new files."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_only_the_owner_can_read_a_report_from_the_first_byte_on(tmp_path, generous, monkeypatch):
    modes = []

    replace_file = Path.replace

    def replace_and_look(self, target):
        modes.append((mode(self), self.parent))
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", replace_and_look)
    place = saved(tmp_path)
    assert modes == [(0o600, tmp_path)]
    assert mode(place) == 0o600


def test_a_report_that_everybody_could_read_is_replaced_by_one_that_they_cannot(tmp_path, generous):
    place = saved(tmp_path)
    place.chmod(0o644)
    assert mode(saved(tmp_path)) == 0o600


def test_a_report_is_overwritten_and_leaves_nothing_beside_it(tmp_path):
    saved(tmp_path)
    saved(tmp_path, replace(REPORT, host="b"))
    assert rankbook.load_report(tmp_path / "hang.json").host == "b"
    assert names(tmp_path) == ["hang.json"]


@pytest.mark.parametrize("text", ['{"rankbook_report": 99}', '{\n "rankbook_report": 1,\n "made'])
def test_a_report_of_another_version_or_a_part_of_one_is_overwritten(tmp_path, text):
    (tmp_path / "hang.json").write_text(text)
    assert rankbook.load_report(saved(tmp_path)).host == "a"


@pytest.mark.parametrize(
    "data", [b"", b"notes", b'{"a": 1}', b'["rankbook_report"]', b"\xff\xfe\x00", b"{" * 10_000]
)
def test_a_file_that_is_no_report_is_not_overwritten(tmp_path, data):
    path = tmp_path / "hang.json"
    path.write_bytes(data)
    with pytest.raises(ReportError, match=r"hang.json exists and is not a report: choose another"):
        reports.refuse(path)
    assert path.read_bytes() == data


def test_a_device_is_not_overwritten():
    with pytest.raises(ReportError, match="/dev/null exists and is not a report"):
        reports.refuse("/dev/null")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ReportError, match=r"is a folder: name a file in it, such as .*/hang.json"):
        reports.refuse(tmp_path)


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(ReportError, match=r"There is no folder .*/there: make it"):
        reports.refuse(tmp_path / "there" / "hang.json")
    assert names(tmp_path) == []


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ReportError, match=r"hang.json cannot be written: No space left on device."):
        saved(tmp_path)
    assert names(tmp_path) == []


def test_ctrl_c_while_it_is_written_leaves_nothing(tmp_path, monkeypatch):
    def press(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", press)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused_in_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ReportError, match="cannot be written: Permission denied"):
        saved(tmp_path)


def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert reports.refuse("~/hang.json") == tmp_path / "hang.json"


# -- reading what is none --------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"notes", b"[1, 2]", b"null", b'{"a": 1}', b"\xff\xfe\x00", b"\x80PK"]
)
def test_a_file_that_is_no_report_is_refused(tmp_path, data):
    path = tmp_path / "other"
    path.write_bytes(data)
    assert refused(path).endswith("other is not a report of rankbook.")


def test_a_folder_or_nothing_cannot_be_read(tmp_path):
    assert refused(tmp_path).endswith("cannot be read: Is a directory.")
    assert refused(tmp_path / "x").endswith("x cannot be read: No such file or directory.")


def test_a_report_of_another_format_names_the_version_that_saved_it(tmp_path):
    path = changed(saved(tmp_path), rankbook_report=2, versions={"rankbook": "3.0"})
    assert refused(path).endswith(
        "is a report of format 2, and this rankbook reads 1: load it with rankbook 3.0 that saved "
        "it."
    )


@pytest.mark.parametrize("versions", [..., None, 3, [], {}])
def test_a_report_of_another_format_need_not_name_a_version(tmp_path, versions):
    path = changed(saved(tmp_path), rankbook_report="x", versions=versions)
    assert "load it with the version that saved it" in refused(path)


def test_a_truncated_report_is_damaged(tmp_path):
    path = saved(tmp_path)
    whole = path.read_text()
    for length in range(len('{\n "rankbook_report": '), len(whole) - 3, 97):
        path.write_text(whole[:length])
        assert "is damaged: " in refused(path)


@pytest.mark.parametrize("name", ["made", "host", "snapshot"])
def test_a_report_without_what_it_needs_is_damaged(tmp_path, name):
    assert "is damaged: " in refused(changed(saved(tmp_path), **{name: ...}))


def leaves(data, at=()):
    """The paths to all that a report is made of."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        yield (*at, key)
        if isinstance(value, (dict, list)):
            yield from leaves(value, (*at, key))


WRONG = [None, 7, "x", [], {}, [1], {"a": 1}, True]


def test_a_damaged_report_is_refused_or_can_be_shown(tmp_path):
    path = saved(tmp_path)
    whole = json.loads(path.read_text())
    for at, ((*way, last), wrong) in enumerate(product(leaves(whole), WRONG)):
        if last in ("rankbook_report", "about") or at % 3:  # every third, to be quick
            continue
        data = json.loads(json.dumps(whole))
        inner = data
        for key in way:
            inner = inner[key]
        inner[last] = wrong
        path.write_text(json.dumps(data))
        try:
            loaded = rankbook.load_report(path)
        except ReportError as error:
            assert "is damaged" in str(error)  # noqa: PT017
        else:
            assert repr(loaded)
            assert loaded._repr_html_()


def test_fields_of_a_newer_rankbook_are_left_out(tmp_path):
    path = changed(saved(tmp_path), invented_later=1)
    assert to_dict(rankbook.load_report(path)) == to_dict(REPORT)


def test_a_report_survives_masking_without_secrets():
    from rankbook.masking import masked

    data, count = masked(to_dict(REPORT))
    assert count == 0
    assert load(Report, data) == REPORT
