"""Measuring on real ranks: collectives by size, and where the time of a cell goes."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter

import pytest

import rankbook
from rankbook.bench.collectives import BUS
from rankbook.errors import InputError

STEPS = """
import time
layer = torch.nn.Linear(8, 8)
for step in range({steps}):
    if rank == 1:
        time.sleep(0.06)
    layer(torch.ones(4, 8)).sum().backward()
    dist.all_reduce(layer.weight.grad)
"""


def test_a_collective_is_measured_by_size_and_says_what_it_went_over(four):
    found = four.bench("all_reduce", "4K,64K", rounds=3)
    assert [row.nbytes for row in found.rows] == [4096, 65536]
    assert all(0 < row.seconds < 1 for row in found.rows)
    assert (found.ranks, found.groups, found.factor) == (4, 1, 1.5)
    small = found.rows[0]
    assert small.algorithm == 4096 / small.seconds
    assert small.bus == pytest.approx(1.5 * small.algorithm)
    assert "loopback on one host" in found.link
    assert "no network" in repr(found)


@pytest.mark.parametrize("collective", sorted(set(BUS) - {"all_reduce"}))
def test_every_collective_can_be_measured(four, collective):
    assert len(four.bench(collective, "4K", rounds=1).rows) == 1


def test_a_group_of_some_ranks_is_measured_on_those(four):
    assert four.run("pair = dist.new_group([0, 3])\nlone = dist.new_group([1])").ok
    found = four.bench("all_reduce", "4K", "pair", rounds=1)
    assert (found.ranks, found.groups, found.factor) == (2, 1, 1.0)
    with pytest.raises(InputError, match="in a group of one rank: name a group of two or more"):
        four.bench("all_reduce", "4K", "lone", rounds=1)


def test_the_groups_of_a_dimension_measure_at_once(four):
    four.mesh("mesh", dp=2, tp=2)
    found = four.bench("all_gather", "4K", "dp", rounds=1)
    assert four.cells[-1].label == "measuring all_gather"
    assert (found.ranks, found.groups, found.factor) == (2, 2, 0.5)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("allreduce",), "'allreduce' cannot be measured"),
        (("all_reduce", "64M:1K"), "'64M:1K' is not a size"),
        (("all_reduce", "4K", "pp"), "'pp' is neither a dimension of the mesh nor a group"),
    ],
)
def test_a_collective_that_cannot_be_measured_is_an_error_in_one_line(four, given, why):
    with pytest.raises(rankbook.InputError, match=why) as raised:
        four.bench(*given)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("collective", sorted(BUS))
def test_in_a_group_of_one_nothing_is_called(four, collective):
    assert four.run("alone = dist.new_subgroups(1)[0]\nlone = dist.new_group([2])").ok
    for name in ("alone", "lone"):
        with pytest.raises(rankbook.InputError, match="moves nothing in a group of one rank"):
            four.bench(collective, "4K", name, rounds=1)
        assert sum(one.calls for one in four.cells[-1].traffic.values()) == 0


def test_ranks_that_are_alone_do_not_measure_beside_a_group_of_more(four):
    made = "pair = dist.new_group([0, 1])\nlone = [dist.new_group([2]), dist.new_group([3])]\n"
    assert four.run(f"{made}mine = pair if rank < 2 else lone[rank - 2]").ok
    found = four.bench("send_recv", "4K", "mine", rounds=1)
    assert (found.ranks, found.groups) == (2, 1)


def test_a_group_that_one_rank_does_not_know_keeps_no_other_waiting(four):
    generation = four.generation
    assert four.run("both = dist.group.WORLD").ok
    assert four.run("del both", [0, 2]).ok
    with pytest.raises(rankbook.InputError, match=r"^On ranks 0,2, 'both' is neither"):
        four.bench("all_reduce", "4K", "both", rounds=1)
    assert four.generation == generation


def read(path):
    return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_the_trace_has_a_process_for_each_rank_and_the_table_blames_the_slow_one(four, tmp_path):
    path = tmp_path / "trace.json.gz"
    result = four.run(STEPS.format(steps=10), profile=path)
    result.raise_for_error()
    events = read(path)
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert [name[:9] for name in names.values()] == [
        "rank 0 on",
        "rank 1 on",
        "rank 2 on",
        "rank 3 on",
    ]
    for rank in range(4):
        here = [e for e in events if e.get("pid") == rank]
        assert sum(e["name"] == "aten::linear" for e in here) == 10
        assert sum(e["name"].startswith("all_reduce #") for e in here) == 10
    arrows = [e for e in events if e["ph"] == "s" and e["name"] == "came last"]
    assert len(arrows) == 30
    # On a busy machine another one may come last once.
    assert Counter(e["pid"] for e in arrows)[1] > 20

    shares = result.profile.shares
    assert shares[0].waiting > 0.1 > shares[1].waiting
    for share in shares.values():
        assert sum((share.computing, share.communicating, share.waiting)) == pytest.approx(
            share.cell
        )
    assert {(one.last, one.line.partition(" line ")[2]) for one in result.profile.worst} == {
        (1, "8")
    }
    assert "recording" in repr(result.profile)


def test_profiling_adds_nothing_to_the_cells_output(four, tmp_path):
    result = four.run("print('hello')", profile=tmp_path / "trace.json")
    assert {(r.stdout, r.stderr) for r in result.values()} == {("hello\n", "")}
    assert four.run("print('next')")[0].stdout == "next\n"


def test_a_cell_that_hangs_gets_the_trace_of_what_there_is(four, tmp_path):
    path = tmp_path / "trace.json.gz"
    result = four.run("if rank: dist.barrier()", profile=path)
    assert result.diagnosis.kind == "missing_rank"
    [worst] = result.profile.worst
    assert (worst.last, worst.came) == (0, False)
    assert "waited for rank 0, which never came, in barrier" in repr(result.profile)
    assert any(e["name"].startswith("barrier #") for e in read(path))
    assert four.run("dist.barrier()").ok


def test_a_cell_with_a_profiler_of_its_own_is_left_to_it(four, tmp_path):
    own = "import torch.autograd.profiler as own\nwith own.profile(use_kineto=True): torch.ones(1)"
    result = four.run(own, profile=tmp_path / "trace.json")
    assert result.ok
    assert "the cell has used a profiler of its own" in repr(result.profile)
    assert four.run("running = own.profile(use_kineto=True)\n_ = running.__enter__()").ok
    with pytest.raises(rankbook.InputError, match="A profiler of an earlier cell runs already"):
        four.run("1", profile=tmp_path / "trace.json")
    assert four.run("_ = running.__exit__(None, None, None)").ok
    assert four.run("1", profile=tmp_path / "trace.json").profile.path


def test_a_file_that_cannot_be_written_is_a_line_before_anything_runs(four, tmp_path):
    with pytest.raises(rankbook.InputError, match="The trace cannot be written to"):
        four.run("ran = True", profile=tmp_path / "nowhere" / "trace.json")
    assert four.run("'ran' in globals()")[0].result_repr == "False"


@pytest.mark.slow
def test_four_ranks_of_a_hundred_steps_are_merged_in_seconds(four, tmp_path):
    code = STEPS.format(steps=100).replace("0.02", "0")
    begin = time.perf_counter()
    result = four.run(code, profile=tmp_path / "trace.json.gz")
    took = time.perf_counter() - begin - max(share.cell for share in result.profile.shares.values())
    assert took < 15  # 5 on a quiet machine
