"""A profiled cell on real ranks, and its one trace."""

from __future__ import annotations

import gzip
import json
import time

import pytest

import rankbook

STEPS = """
import time
layer = torch.nn.Linear(8, 8)
for step in range({steps}):
    if rank == 1:
        time.sleep(0.02)
    layer(torch.ones(4, 8)).sum().backward()
    dist.all_reduce(layer.weight.grad)
"""


def read(path):
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_the_trace_has_a_process_for_each_rank_and_the_table_blames_the_slow_one(two, tmp_path):
    path = tmp_path / "trace.json.gz"
    result = two.run(STEPS.format(steps=10), profile=path)
    result.raise_for_error()
    events = read(path)
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert [name[:9] for name in names.values()] == ["rank 0 on", "rank 1 on"]
    for rank in (0, 1):
        here = [e for e in events if e.get("pid") == rank]
        assert sum(e["name"] == "aten::linear" for e in here) == 10
        assert sum(e["name"].startswith("all_reduce #") for e in here) == 10
    arrows = [e for e in events if e["ph"] == "s" and e["name"] == "came last"]
    assert len(arrows) == 10
    assert {e["pid"] for e in arrows} == {1}

    shares = result.profile.shares
    assert shares[0].waiting > 0.1 > shares[1].waiting
    for share in shares.values():
        assert sum((share.computing, share.communicating, share.waiting)) == pytest.approx(
            share.cell
        )
    assert {(one.rank, one.last, one.line) for one in result.profile.worst} == {
        (0, 1, result.profile.worst[0].line)
    }
    assert result.profile.worst[0].line.endswith("line 8")
    assert "recording" in repr(result.profile)


def test_nothing_of_the_profiler_is_seen_in_the_cells_output(two, tmp_path):
    result = two.run("print('hello')", profile=tmp_path / "trace.json")
    assert {(r.stdout, r.stderr) for r in result.values()} == {("hello\n", "")}
    assert two.run("print('next')")[0].stdout == "next\n"


def test_a_cell_that_hangs_gets_the_trace_of_what_there_is(two, tmp_path):
    path = tmp_path / "trace.json.gz"
    result = two.run("if rank: dist.barrier()", profile=path)
    assert result.diagnosis.kind == "missing_rank"
    [worst] = result.profile.worst
    assert (worst.rank, worst.last, worst.came) == (1, 0, False)
    assert "rank 1 waited for rank 0, which never came, in barrier" in repr(result.profile)
    assert any(e["name"].startswith("barrier #") for e in read(path))
    assert two.run("dist.barrier()").ok


def test_a_file_that_cannot_be_written_is_a_line_before_anything_runs(two, tmp_path):
    with pytest.raises(rankbook.InputError, match="The trace cannot be written to"):
        two.run("ran = True", profile=tmp_path / "nowhere" / "trace.json")
    assert two.run("'ran' in globals()")[0].result_repr == "False"


@pytest.mark.slow
def test_four_ranks_of_a_hundred_steps_are_merged_in_seconds(four, tmp_path):
    code = STEPS.format(steps=100).replace("0.02", "0")
    begin = time.perf_counter()
    result = four.run(code, profile=tmp_path / "trace.json.gz")
    took = time.perf_counter() - begin - max(share.cell for share in result.profile.shares.values())
    assert took < 15  # 5 on a quiet machine
