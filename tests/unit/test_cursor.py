"""Whom the code at the cursor is for, and what can be typed after a magic."""

from __future__ import annotations

import pytest

from rankbook.magics.cursor import ForRanks, InMagic, options_at, target
from rankbook.magics.options import (
    BACKEND,
    NAMES,
    ON_HANG,
    RANKS,
    SELECTION,
    TIMEOUT_SECONDS,
    option,
)

MAGICS = {
    "dist": (
        RANKS,
        TIMEOUT_SECONDS,
        option("--no-wait", action="store_true"),
        option("expression", nargs="*"),
    ),
    "dist_show": (RANKS, option("expression", nargs="*")),
    "rank": (SELECTION,),
    "dist_init": (BACKEND, ON_HANG),
    "dist_pull": (NAMES, RANKS),
}


def at(marked, *, mode=False):
    """The target in a cell whose cursor is marked with a bar."""
    return target(marked.replace("|", ""), marked.index("|"), MAGICS, mode=mode)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("%%dist\nmodel.we|", ("all", "model.we", 8)),
        ("%%dist -r 0,2 --timeout 3\na\nb|\nc", ("0,2", "a\nb\nc", 3)),
        ("%%dist --ranks=1\nb|", ("1", "b", 1)),
        ("%%rank 1:\nb|", ("1:", "b", 1)),
        ("%dist x.su|", ("all", "x.su", 4)),
        ("%dist -r 0 --no-wait x|.y", ("0", "x.y", 1)),
        ("a = 1\n%dist x|\nb = 2", ("all", "x", 1)),
        ("%dist_show -r tp=0 w.wei|", ("tp=0", "w.wei", 5)),
    ],
)
def test_code_for_ranks_is_found_with_its_ranks(cell, expected):
    found = at(cell)
    assert isinstance(found, ForRanks)
    assert (found.ranks, found.code, found.cursor) == expected
    plain = cell.replace("|", "")
    assert plain[found.begin : found.begin + len(found.code)] == found.code


@pytest.mark.parametrize(
    ("cell", "magic", "words"),
    [
        ("%dist_init |", "dist_init", ("",)),
        ("%dist_init --on-hang fr|", "dist_init", ("--on-hang", "fr")),
        ("%%dist -|\nx", "dist", ("-",)),
        ("%dist -r |", "dist", ("-r", "")),
        ("%dist --no-w|", "dist", ("--no-w",)),
        ("%%rank |", "rank", ("",)),
    ],
)
def test_behind_a_magic_its_options_can_be_typed(cell, magic, words):
    assert at(cell) == InMagic(magic, words)


@pytest.mark.parametrize(
    "cell", ["x|", "%time x|", "%dis|", "a\n%%dist\nb|", "# %dist x\ny|", "!ls |", "%%local\nx|"]
)
def test_other_code_is_for_the_notebook(cell):
    assert at(cell) is None


def test_in_dist_mode_plain_code_is_for_ranks_and_what_stays_here_is_not():
    assert at("a = 1\nb|", mode=True) == ForRanks("all", "a = 1\nb", 7, 0)
    for cell in ("%%local\nx|", "%time x|", "!ls |"):
        assert at(cell, mode=True) is None


@pytest.mark.parametrize(
    ("magic", "words", "expected"),
    [
        ("dist_init", ("--on-hang", ""), ["free", "report", "wait"]),
        ("dist_init", ("",), ["gloo", "nccl"]),
        ("dist_init", ("--o",), ["--on-hang"]),
        ("dist", ("-r", ""), ["all", "0", "1", "2", "tp=0"]),
        ("dist", ("-",), ["-r", "--ranks", "--timeout", "--no-wait"]),
        ("dist", ("--timeout", ""), []),
        ("rank", ("",), ["all", "0", "1", "2", "tp=0"]),
        ("dist_pull", ("",), None),
        ("dist_pull", ("x", "-r", ""), ["all", "0", "1", "2", "tp=0"]),
    ],
)
def test_options_and_their_values(magic, words, expected):
    assert options_at(MAGICS[magic], words, ["0", "1", "2", "tp=0"]) == expected
