"""``%dist_run``, on engines that live in this process."""

from __future__ import annotations

import pytest

from rankbook.cluster.placement import place
from rankbook.models import EngineFacts
from rankbook.models.cells import Script
from rankbook.sessions.cells import scripts


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print('trained')")
    return tmp_path


def ran(pool, engine=0):
    """The script that an engine ran last: its path, its arguments, and its ranks."""
    script = pool[engine].scripts[-1]
    return script["path"], list(script["args"]), list(script["world"])


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "args", "ranks"),
    [
        ("train.py", [], [0, 1, 2, 3]),
        ("train.py --epochs 1", ["--epochs", "1"], [0, 1, 2, 3]),
        ("-r 0,2 train.py -r 1 -m x", ["-r", "1", "-m", "x"], [0, 2]),
        ("--ranks=2: train.py", [], [2, 3]),
        ("-r -1 train.py --lr 'a b'", ["--lr", "a b"], [3]),
        ("--clean --timeout 9 train.py --clean", ["--clean"], [0, 1, 2, 3]),
    ],
)
def test_options_before_a_script_are_the_magics_and_those_after_it_are_its_own(
    notebook, pool, line, args, ranks
):
    notebook.run(f"%dist_run {line}")
    assert notebook.error is None
    assert [n for n in range(4) if pool[n].scripts] == ranks
    assert ran(pool, ranks[0]) == ("train.py", args, ranks)


@pytest.mark.usefixtures("folder")
def test_the_output_of_a_script_is_merged(notebook):
    notebook.run("%dist_run train.py")
    assert notebook.out == "[0-3] trained\n"


def test_a_script_that_fails_fails_the_cell_and_keeps_its_result(notebook, folder):
    (folder / "train.py").write_text("1/0")
    error = notebook.fail("%dist_run -o result -r 0,1 train.py")
    assert "ZeroDivisionError" in str(error)
    assert [notebook["result"][rank].exit_code for rank in (0, 1)] == [1, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%dist_run", "There is nothing to run: give a script, %dist_run train.py."),
        ("%dist_run -r 0", "There is nothing to run: give a script, %dist_run train.py."),
        ("%dist_run 'train.py", "close the quotation mark"),
        ("%dist_run nothing.py", "cannot open 'nothing.py'"),
        ("%dist_run .", "is a folder without __main__.py"),
        ("%dist_run some.ipynb", "`jupyter nbconvert --to script some.ipynb`"),
        ("%dist_run --nothing train.py", "run %dist_run? to see its options"),
    ],
)
def test_a_mistake_is_said_in_one_line(notebook, folder, line, said):
    (folder / "some.ipynb").write_text('{"cells": []}')
    notebook.run(line)
    assert said in str(notebook.error)
    assert len(str(notebook.error).splitlines()) == 1


def facts(number, host):
    return EngineFacts(number, host, (f"{host}-1",), 100 + number, ())


def test_the_chosen_ranks_are_told_what_torchrun_tells_the_workers_of_their_own_world():
    hosts = ["a", "a", "a", "b", "b"]
    placement = place([facts(number, host) for number, host in enumerate(hosts)])
    told = scripts.for_ranks(Script("train.py"), placement, (1, 2, 4))
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    assert {rank: [its.variables[name] for name in names] for rank, its in told.items()} == {
        1: ["0", "3", "0", "2", "0"],
        2: ["1", "3", "1", "2", "0"],
        4: ["2", "3", "0", "1", "1"],
    }
    assert {its.world for its in told.values()} == {(1, 2, 4)}
    assert len({its.variables["TORCHELASTIC_RUN_ID"] for its in told.values()}) == 1


def test_every_run_has_an_id_of_its_own():
    placement = place([facts(0, "a")])
    one, other = (scripts.for_ranks(Script("a.py"), placement, (0,))[0] for _ in range(2))
    assert one.variables["TORCHELASTIC_RUN_ID"] != other.variables["TORCHELASTIC_RUN_ID"]
