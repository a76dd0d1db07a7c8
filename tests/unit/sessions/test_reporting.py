"""Saving a report of a session, whatever it does, on engines that live in this process."""

from __future__ import annotations

import json
import os

import pytest
from processes import wait_until
from steps import SOON, end_of, run_stuck

import rankbook
from rankbook.errors import EngineError, ReportError
from rankbook.models import to_dict
from rankbook.models.frames import Frame, Standing

HANG = 'if rank: wait_in("all_reduce", seq=3)'
SECRET = "Sesame-42-Sesame"  # noqa: S105 - it opens nothing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hang.json"


@pytest.fixture
def of(path):
    """Saves a report of a session and loads it."""

    def save(session):
        session.save_report(path)
        return rankbook.load_report(path)

    return save


@pytest.fixture
def hung(formed, watchful):
    """A session whose cell hangs, and is seen to."""
    thread, _ = run_stuck(formed, "1-3", HANG, on_hang="wait")
    wait_until(lambda: formed.verdict is not None, SOON)
    yield formed
    formed.interrupt()
    end_of(thread)


def test_a_report_of_a_cell_that_hangs(hung, of):
    report = of(hung)
    assert report.verdict.kind == "missing_rank"
    assert report.verdict.ranks == (0,)
    assert report.snapshot.hangs
    assert [state.state for state in report.snapshot.states] == ["idle", *["waiting"] * 3]
    assert [look.state for look in report.looks.values()] == ["idle", *["waiting"] * 3]
    assert report.looks[1].waiting.seq == 3
    assert report.stacks == {rank: (f"stack of engine {rank}\n",) for rank in range(4)}
    assert {rank for rank, one in report.standings.items() if one.frames} == {1, 2, 3}
    assert report.standings[1].frames[0].variables == {"engine": "1"}
    assert (report.cell.code, report.cell.ranks) == (HANG, (1, 2, 3))
    assert report.cell.ended is None


def test_a_report_of_a_cell_that_was_freed_has_what_was_seen_before(formed, watchful, of):
    formed.run(HANG)
    report = of(formed)
    assert report.verdict.kind == "missing_rank"
    assert "waited in all_reduce #3" in report.verdict.per_rank[2]
    assert not report.snapshot.hangs
    assert [look.state for look in report.looks.values()] == ["idle", *["waiting"] * 3]
    assert report.before_freed
    assert list(report.stacks) == [0, 1, 2, 3]
    assert report.cell.ended is not None


def test_the_verdict_of_an_earlier_cell_is_not_that_of_a_later_one(formed, watchful, of):
    formed.run(HANG)
    formed.run("rank")
    report = of(formed)
    assert (report.verdict.kind, report.cell.code) == ("idle", "rank")


def test_a_report_of_a_session_that_has_run_nothing(formed, of):
    report = of(formed)
    assert (report.verdict.kind, report.cell) == ("idle", None)


def test_a_report_of_a_session_without_a_group(session, of):
    report = of(session)
    assert (report.verdict, report.looks, report.stacks) == (None, {}, {})
    assert "no process group" in repr(report)


def test_a_report_of_a_session_that_was_shut_down_still_has_the_last_verdict(make, watchful, of):
    session = make(2)
    session.initialize("gloo")
    session.run("if rank: wait_in('barrier', seq=1)")
    session.shutdown()
    report = of(session)
    assert (report.verdict.kind, list(report.looks)) == ("missing_rank", [0, 1])


def test_ranks_that_are_gone_or_silent_are_in_the_report(formed, pool, of):
    pool.kill(1)
    pool[2].answers = False
    report = of(formed)
    gone, silent = report.looks[1], report.looks[2]
    assert (gone.state, gone.ended, gone.pid) == ("gone", "was killed by SIGKILL", 101)
    assert (silent.state, silent.pid) == ("no answer", 102)
    assert set(report.stacks) == {0, 3}
    pool[2].answers = True


def test_save_report_says_what_was_saved_and_where(formed, path):
    said = repr(formed.save_report(path))
    assert said.startswith(f"Saved {path}. Contains the verdict")
    assert "\n" not in said


def test_a_report_contains_versions_and_the_system(formed, of):
    versions = of(formed).versions
    assert versions["rankbook"] == rankbook.__version__
    assert {"python", "torch", "ipyparallel", "ipykernel", "ipython", "system"} <= set(versions)


def test_a_report_contains_the_environment_of_the_ranks(formed, pool, of):
    pool[3].answers = False
    report = of(formed)
    assert report.environments == {rank: pool[rank].runs_with for rank in range(3)}
    pool[3].answers = True


def test_engines_that_do_not_know_what_they_run_with_do_not_keep_a_report_from_being_made(
    formed, pool, of
):
    def unknown():
        raise EngineError("The engine on a does not know 'environment'.")

    for engine in pool.all.values():
        engine.environment = unknown
    assert of(formed).environments == {}


def test_the_ranks_are_not_asked_for_a_report_that_cannot_be_saved(formed, pool, tmp_path):
    before = len(pool.wire.requests)
    with pytest.raises(ReportError):
        formed.save_report(tmp_path)
    assert len(pool.wire.requests) == before


# -- secrets ---------------------------------------------------------------------------------


def test_a_report_contains_only_variables_that_matter_to_torch(formed, of, monkeypatch):
    wanted = {"NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "7", "RANK": "0"}
    for name, value in (wanted | {"MY_NOTES": "x", "EDITOR": "vi"}).items():
        monkeypatch.setenv(name, value)
    environment = of(formed).environment
    assert environment.items() >= wanted.items()
    assert environment.keys().isdisjoint({"MY_NOTES", "EDITOR", "HOME", "PATH"})


def test_a_secret_of_the_environment_is_in_no_text(formed, pool, path, monkeypatch):
    monkeypatch.setenv("SLURM_JWT", SECRET)
    monkeypatch.setenv("HF_TOKEN", f"{SECRET}2")
    monkeypatch.setenv("NCCL_PLUGIN_URL", "https://me:hunter2@x.y/z")
    formed.run(f"f('{SECRET}2')")
    formed.save_report(path)
    text = path.read_text()
    assert SECRET not in text
    assert "hunter2" not in text
    assert json.loads(text)["environment"]["SLURM_JWT"] == "<masked>"
    assert json.loads(text)["cell"]["code"] == "f('<masked>')"


def test_a_secret_of_the_cell_is_in_no_text(formed, pool, path, monkeypatch):
    stack = f'  File "<ipython-input>", line 2, in <module>\n    login("{SECRET}", token="x y")\n'
    monkeypatch.setattr(pool[1], "stacks", lambda: [stack])
    monkeypatch.setattr(pool[2], "last_error", f"HTTPError: 401 for {SECRET}")
    formed.run(f"password = '{SECRET}'\nraise ValueError(password)", ranks=0)
    formed.save_report(path)
    text = path.read_text()
    assert SECRET not in text
    assert "x y" not in text
    report = rankbook.load_report(path)
    assert "ValueError: <masked>" in {state.last_error for state in report.snapshot.states}
    assert report.masked > 3
    assert f"in {report.masked} places" in json.loads(text)["about"]


def test_a_secret_among_the_local_variables_is_in_no_text(formed, pool, path, monkeypatch):
    variables = {
        "password": "'sesame'",
        "tokens": "int64 [2]",
        "headers": "{'Authorization': 'Bearer abc'}",
        "note": f"'say {SECRET}'",
        "key": repr(SECRET),
    }
    standing = to_dict(Standing((Frame("In [4] line 2", f"login({SECRET!r})", variables),)))
    monkeypatch.setattr(pool[1], "get_frames", lambda native: standing)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    formed.save_report(path)
    text = path.read_text()
    for secret in ("sesame", "Bearer abc", SECRET):
        assert secret not in text
    report = rankbook.load_report(path)
    [frame] = report.standings[1].frames
    assert frame.code == "login('<masked>')"
    assert frame.variables["tokens"] == "int64 [2]"
    assert frame.variables["key"] == frame.variables["password"] == "<masked>"
    assert report.masked >= 5
    for shown in (str(report), report._repr_html_()):
        assert "tokens: int64 [2]" in shown


def test_names_of_groups_that_look_like_keys_can_be_distinguished(formed, of):
    first, second = "0a1b2c3d" * 5, "1a1b2c3d" * 5
    formed.run(f"called('barrier', 1, '{first}')\ncalled('barrier', 1, '{second}')")
    assert [call.group for call in of(formed).looks[0].recent] == [first, second]


def test_the_environment_is_left_as_it_is(formed, path):
    before = dict(os.environ)
    formed.save_report(path)
    assert dict(os.environ) == before


# -- calls for torch's analyser ------------------------------------------------------------------


def test_a_recording_is_a_file_per_rank_that_only_its_owner_reads(formed, tmp_path):
    saved = formed.save_recording(tmp_path / "new")
    files = sorted((tmp_path / "new").iterdir())
    assert [path.name for path in files] == [f"rank_{rank}" for rank in range(formed.world_size)]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert f"torchfrtrace {tmp_path / 'new'}" in repr(saved)


def test_an_earlier_recording_is_replaced_and_nothing_else_is(formed, tmp_path):
    (tmp_path / "rank_77").write_text("of yesterday")
    formed.save_recording(tmp_path)
    assert not (tmp_path / "rank_77").exists()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ReportError, match=r"not empty \(notes.txt\)"):
        formed.save_recording(tmp_path)
    with pytest.raises(ReportError, match="is a file"):
        formed.save_recording(tmp_path / "notes.txt")
