"""The names and the path of the notebook on the ranks."""

from __future__ import annotations

import os
import sys

import pytest

import rankbook.api
from rankbook.errors import InputError


def value(session, code):
    result = session.run(code, timeout=60)
    result.raise_for_error()
    [text] = {its.result_repr for its in result.values()}
    return text


def in_notebook(code):
    """What a cell of the notebook defines."""
    names = {"__name__": "__main__"}
    exec(code, names)  # noqa: S102 - of a test
    return names


def test_a_pushed_function_finds_the_names_of_the_rank(two):
    names = in_notebook(
        "import torch\n"
        "import torch.distributed as dist\n"
        "def reduced():\n"
        "    x = torch.ones(1, device=device) * rank\n"
        "    dist.all_reduce(x)\n"
        "    return x.item() + world_size\n"
    )
    two.push(reduced=names["reduced"])
    assert value(two, "reduced()") == "3.0"
    two.reset()
    assert value(two, "reduced()") == "3.0"


def test_a_variable_of_the_notebook_wins_over_one_of_a_rank(two):
    names = in_notebook("rank = 'mine'\ndef told(): return rank")
    two.push(told=names["told"])
    assert value(two, "told()") == "'mine'"


def test_a_pushed_instance_can_be_pickled_again_on_the_ranks(two):
    names = in_notebook("class Config:\n    def __init__(self, n): self.n = n\nc = Config(3)")
    two.push(config=names["c"])
    code = """
import io
given = [config if rank == 0 else None]
dist.broadcast_object_list(given, src=0)
buffer = io.BytesIO()
torch.save(config, buffer)
buffer.seek(0)
given[0].n + torch.load(buffer, weights_only=False).n
"""
    assert value(two, code) == "6"


def test_a_value_that_cannot_be_made_here_is_said_in_one_line(two):
    two.run(
        "from torch.nn.parallel import DistributedDataParallel as DDP\n"
        "ddp = DDP(torch.nn.Linear(2, 2))"
    ).raise_for_error()
    with pytest.raises(InputError, match=r"'ddp' of rank 0 cannot be made here .*state_dict"):
        two.pull("ddp")


def test_reset_leaves_the_names_of_the_rank(two):
    two.run("mine = 1")
    two.run("%reset -f")
    assert value(two, "torch.ones(1).item(), rank < world_size, dist.get_world_size()") == (
        "(1.0, True, 2)"
    )
    assert two.run("mine")[0].error.ename == "NameError"


def test_the_folder_and_the_path_of_the_notebook_hold_on_the_ranks(two, tmp_path, monkeypatch):
    (tmp_path / "helper_of_a_test.py").write_text("VALUE = 7")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert value(two, "import helper_of_a_test\nhelper_of_a_test.VALUE") == "7"
    monkeypatch.chdir(tmp_path)
    assert value(two, "import os\nos.getcwd()") == repr(str(tmp_path))


def test_libraries_do_not_think_that_a_user_types_on_a_rank(two):
    assert value(two, "import sys\nhasattr(sys, 'ps1')") == "False"


@pytest.mark.parametrize("page", ["x?", "print??", "%prun sum([1])", "%%prun\nsum([1])"])
def test_what_ipython_shows_in_a_pager_is_shown_as_text(two, page):
    two.run("x = 1")
    assert len(two.run(page)[0].stdout) > 50


def test_a_file_named_like_a_standard_module_does_not_keep_a_session_from_starting(
    tmp_path, monkeypatch
):
    former, rankbook.api.current.session = rankbook.api.current.session, None
    for name in ("random", "types", "json", "logging", "torch"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('of the notebook')")
    monkeypatch.chdir(tmp_path)
    try:
        session = rankbook.start("gloo", 2)
        try:
            assert value(session, "dist.get_world_size()") == "2"
        finally:
            session.shutdown()
    finally:
        rankbook.api.current.session = former


def test_a_folder_that_has_gone_does_not_keep_a_session_from_starting(tmp_path):
    former, rankbook.api.current.session = rankbook.api.current.session, None
    before = os.getcwd()  # noqa: PTH109
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        session = rankbook.start("gloo", 2)
        try:
            assert value(session, "dist.get_world_size()") == "2"
            assert session.run("%dist_run")[0] is not None
        finally:
            session.shutdown()
    finally:
        os.chdir(before)
        rankbook.api.current.session = former
    assert sys.path
