"""Real ranks compute with their part of the cores, and so does what they start."""

from __future__ import annotations

import os

import pytest

import rankbook

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

SAID = """
import os, subprocess, sys
child = subprocess.run(
    [sys.executable, "-c", "import torch; print(torch.get_num_threads())"],
    capture_output=True, text=True, check=True,
).stdout
torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], int(child)
"""


def said(session):
    result = session.run(SAID)
    result.raise_for_error()
    return {its.result_repr for its in result.values()}


def of(number):
    return {repr((number, str(number), number))}


@pytest.fixture
def without_variables(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("without_variables")
def test_each_rank_gets_its_share_of_the_cores():
    session = rankbook.start("gloo", 1)
    try:
        assert said(session) == of(CORES)
        session.initialize(nproc=2)
        assert said(session) == of(max(1, CORES // 2))
        session.run("torch.set_num_threads(3)").raise_for_error()
        session.reset()
        assert {its.result_repr for its in session.run("torch.get_num_threads()").values()} == {"3"}
    finally:
        session.shutdown()


def test_ranks_obey_the_thread_variables_of_the_notebook(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of more than there are torch makes fewer
    session = rankbook.start("gloo", 1)
    try:
        assert said(session) == of(1)
    finally:
        session.shutdown()
