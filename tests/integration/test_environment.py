"""What real ranks say they run with."""

from __future__ import annotations

import platform
import subprocess
import sys

import torch
from world import Background, until

import rankbook
from rankbook.display.environment import to_text
from rankbook.sessions.members.environment import environments

SOON = 20.0


def told(session):
    return environments(session.members.living())


def test_what_every_engine_imports_is_imported_once_before_they_are_forked(two):
    say = "import sys; print(*sys.modules)"
    load = f"from rankbook.engine.starting import loading, server; loading.load(); {say}"
    once = subprocess.check_output([sys.executable, "-c", load], text=True).split()
    two.run("dist.all_reduce(torch.ones(1))").raise_for_error()
    here = two.run(say)[0].stdout.split()
    assert "rankbook.engine.app" in here
    assert [name for name in here if name not in once] == []


def test_random_numbers_differ_by_rank_until_a_seed_is_set(two):
    two.run("import random, numpy as np").raise_for_error()
    for draw in ("torch.rand(1).item()", "random.random()", "np.random.rand()"):
        drawn = two.run(draw)
        assert drawn[0].result_repr != drawn[1].result_repr, draw
    two.run("torch.manual_seed(3)").raise_for_error()
    two.reset()
    drawn = two.run("torch.rand(1)")
    assert drawn[0].result_repr == drawn[1].result_repr


def test_a_rank_imports_what_starts_clusters_when_a_cell_asks_for_it(two):
    code = (
        "import sys\n"
        "before = 'ipyparallel.cluster' in sys.modules\n"
        "import ipyparallel as ipp\n"
        "from ipyparallel import ClusterManager\n"
        "print(before, ipp.Cluster.__name__, ClusterManager.__name__, ipp.cluster.__name__)\n"
        "ipp.nothing"
    )
    result = two.run(code)[0]
    assert result.stdout == "False Cluster ClusterManager ipyparallel.cluster\n"
    assert "module 'ipyparallel' has no attribute 'nothing'" in str(result.error)


def test_ranks_report_what_they_run_with_and_differences_are_marked(two):
    found = told(two)
    assert set(found) == {0, 1}
    assert found[1].versions["python"] == platform.python_version()
    assert found[1].versions["torch"] == torch.__version__
    assert found[1].versions["rankbook"] == rankbook.__version__
    assert (found[1].variables["RANK"], found[1].variables["WORLD_SIZE"]) == ("1", "2")
    assert to_text(found).startswith("2 ranks on 1 host · nothing differs that should not\n")
    code = (
        "import os\n"
        "if rank == 1:\n"
        "    torch.set_num_threads(7)\n"
        "    os.environ['NCCL_DEBUG'] = 'WARN'\n"
        "    os.environ['SLURM_JWT'] = 'abc'"
    )
    two.run(code).raise_for_error()
    found = told(two)
    assert found[1].threads == 7
    assert found[1].variables["SLURM_JWT"] == "<masked>"
    assert to_text(found).splitlines()[0] == (
        "2 ranks on 1 host · threads, NCCL_DEBUG and SLURM_JWT differ"
    )


def test_a_rank_that_hangs_reports_what_it_runs_with(two):
    running = Background(lambda: two.run("if rank: dist.barrier()", on_hang="wait"))
    assert until(lambda: two.verdict is not None, SOON) < SOON
    assert set(told(two)) == {0, 1}
    two.interrupt()
    assert running.join(SOON)
