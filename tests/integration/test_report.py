"""A report of a hang, saved while it hangs and after, read by another process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from world import Background, until

SOON = 20.0

SECRET = "hf_SesameSesame42"  # noqa: S105 - it opens nothing

HANG = f"""
login = print
token = "{SECRET}"
x = torch.ones(2, 3)
if rank == 0:
    login("in", token)
else:
    dist.all_reduce(x)  # {SECRET}
"""

READER = """
import json, sys
import rankbook
assert rankbook.session() is None
report = rankbook.load_report(sys.argv[1])
assert "torch" not in sys.modules
print(json.dumps({
    "text": str(report),
    "html": report._repr_html_(),
    "kind": report.verdict.kind,
    "ranks": report.verdict.ranks,
    "hangs": report.snapshot.hangs,
    "looks": [report.looks[rank].state for rank in sorted(report.looks)],
    "stacks": {rank: "".join(frames) for rank, frames in report.stacks.items()},
    "code": report.cell.code,
    "versions": dict(report.versions),
}))
"""


def read_elsewhere(path):
    """What another Python process finds in a report."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


@pytest.fixture
def secret_there(monkeypatch):
    """The notebook's own environment has a secret, and something that matters to torch."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("NCCL_DEBUG", "INFO")


def test_a_report_of_a_hang_is_saved_and_loaded_while_it_hangs_and_after(
    two, tmp_path, secret_there
):
    live, after = tmp_path / "live.json", tmp_path / "after.json"
    running = Background(lambda: two.run(HANG, on_hang="wait"))
    assert until(lambda: two.verdict is not None, SOON) < SOON
    saving = Background(lambda: two.save_report(live))
    assert saving.join(SOON), "the report was not saved while the cell hung"
    assert saving.error is None
    assert not running.join(0), "saving the report has ended the cell"
    two.interrupt()
    assert running.join(SOON)
    two.save_report(after)

    for path in (live, after):
        assert path.stat().st_mode & 0o777 == 0o600
        assert SECRET not in path.read_text()

    found = read_elsewhere(live)
    assert (found["kind"], found["ranks"], found["hangs"]) == ("missing_rank", [0], True)
    assert found["looks"] == ["idle", "waiting"]
    assert "dist.all_reduce(x)" in found["stacks"]["1"]
    assert "all_reduce" in found["code"]
    assert 'token = "<masked>"' in found["code"]
    for shown in (found["text"], found["html"]):
        assert "Rank 0 never called all_reduce" in shown
        assert "NCCL_DEBUG" in shown
        assert "2 ranks on 1 host · nothing differs" in shown
        assert "x: float32 [2, 3]" in shown
        assert "token: &lt;masked&gt;" in shown or "token: <masked>" in shown
    assert found["versions"].keys() >= {"python", "torch", "rankbook", "ipyparallel"}

    found = read_elsewhere(after)
    assert (found["kind"], found["ranks"], found["hangs"]) == ("missing_rank", [0], False)
    # What was seen before the ranks were freed.
    assert found["looks"] == ["idle", "waiting"]
    assert "dist.all_reduce(x)" in found["stacks"]["1"]
    assert "waited in all_reduce" in found["text"]
    assert "x: float32 [2, 3]" in found["text"]
