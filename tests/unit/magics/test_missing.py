"""Names that the notebook has and ranks lack."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from IPython.core.error import UsageError

from rankbook.magics.missing import only_here, was_meant_for_ranks
from rankbook.models import Failure
from rankbook.sessions.cells.results import CellResult, RankResult

NAMES = {"lr": 0.1, "math": math, "helper": lambda: None, "Net": type("Net", (), {})}


def lacking(**by_rank):
    return CellResult(
        {
            int(rank[1:]): RankResult(int(rank[1:]), error=Failure("NameError", said))
            for rank, said in by_rank.items()
        }
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lr", "%dist_push lr sends it"),
        ("math", "import it in a %%dist cell"),
        ("helper", "a cell with %%dist at its top defines it there"),
        ("Net", "a cell with %%dist at its top defines it there"),
    ],
)
def test_a_name_that_only_the_notebook_has_is_reported_with_the_way_to_the_ranks(name, what):
    said = f"name '{name}' is not defined"
    assert only_here(lacking(r0=said, r1=said), NAMES) == (
        f"{name} is in the notebook itself, not on ranks 0-1: {what}."
    )
    assert " on rank 1: " in only_here(lacking(r1=said), NAMES)


def test_where_the_notebook_lacks_it_too_or_something_else_was_raised_nothing_is_reported():
    assert only_here(lacking(r0="name 'nope' is not defined"), NAMES) == ""
    other = RankResult(0, error=Failure("ValueError", "name 'lr' is not defined"))
    assert only_here(CellResult({0: other, 1: RankResult(1)}), NAMES) == ""


def ended(error, cell="main()", *, silent=False):
    """What IPython says of a cell."""
    info = SimpleNamespace(raw_cell=cell, silent=silent)
    return SimpleNamespace(error_in_exec=error, info=info)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("LOCAL_RANK"),
        ValueError("Default process group has not been initialized, please make sure to call it."),
        ValueError("Error initializing torch.distributed using env:// rendezvous: no RANK"),
    ],
)
def test_a_plain_cell_that_is_no_rank_is_told_how_to_run_on_the_ranks(error):
    assert was_meant_for_ranks(ended(error)) == (
        "This ran in the notebook itself, which is not a rank: "
        "%%dist at the top of the cell runs it on the ranks."
    )
    cell = "# train\n%run train.py --epochs 1\n"
    assert ": %dist_run train.py --epochs 1 runs it" in was_meant_for_ranks(ended(error, cell))


def test_a_cell_magic_below_a_comment_is_told_where_it_must_stand():
    error = UsageError("Line magic function `%%dist` not found.")
    assert was_meant_for_ranks(ended(error)) == (
        "%%dist must be the first line of its cell: put what is above it below."
    )
    assert was_meant_for_ranks(ended(UsageError("Line magic function `%nope` not found."))) == ""


@pytest.mark.parametrize(
    "error", [None, KeyError("x"), KeyError(), ValueError("RANK"), KeyError(0)]
)
def test_a_plain_cell_that_ended_otherwise_is_told_nothing(error):
    assert was_meant_for_ranks(ended(error)) == ""
    assert was_meant_for_ranks(ended(KeyError("RANK"), silent=True)) == ""
