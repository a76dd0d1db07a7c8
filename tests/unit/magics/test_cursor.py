"""Whom the code at the cursor is for, and what can be typed after a magic."""

from __future__ import annotations

from argparse import REMAINDER

import pytest

from rankbook.magics.cursor import ForRanks, InMagic, Wanted, name_at, target, wanted
from rankbook.magics.offers import offers
from rankbook.magics.options import (
    BACKEND,
    FILES,
    NAMES,
    NAMES_THERE,
    ON_HANG,
    RANK_SELECTIONS,
    RANKS,
    SCRIPTS,
    SELECTION,
    TIMEOUT_SECONDS,
    TRACE,
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
    "dist_bench": (option("collective", completes=("all_reduce",)), option("--sizes")),
    "dist_run": (RANKS, option("script", nargs=REMAINDER, completes=SCRIPTS)),
    "dist_mesh": (option("dimensions", nargs="*"), option("--name")),
    "trace": (TRACE,),
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
        ("\n\n%%dist -r 1\nb|", ("1", "b", 1)),
        ("%%dist\n\n  \n a\nb|", ("all", " a\nb", 4)),
        ("%%time\n%%capture out\n\n%%rank 2\nb|", ("2", "b", 1)),
        ("y = %dist -r 0 x|", ("0", "x", 1)),
        ("y[0], z = %dist x|", ("all", "x", 1)),
        ("%time %dist x|", ("all", "x", 1)),
        ("a\n%timeit -n 1 %dist x|\nb", ("all", "x", 1)),
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
        ("x = %dist_pull |", "dist_pull", ("",)),
        ("%%time\n%%dist -r |\nx", "dist", ("-r", "")),
    ],
)
def test_behind_a_magic_its_options_can_be_typed(cell, magic, words):
    assert at(cell) == InMagic(magic, words)


@pytest.mark.parametrize(
    "cell",
    [
        "x|",
        "%time x|",
        "%dis|",
        "a\n%%dist\nb|",
        "# %dist x|",
        "!ls |",
        "%%local\nx|",
        "%%time\nx|",
    ],
)
def test_other_code_is_for_the_notebook(cell):
    assert at(cell) is None


def test_in_dist_mode_plain_code_is_for_ranks_and_what_stays_here_is_not():
    assert at("a = 1\nb|", mode=True) == ForRanks("all", "a = 1\nb", 7, 0)
    assert at("\n\nb|", mode=True) == ForRanks("all", "b", 1, 2)
    for cell in ("%%local\nx|", "%time x|", "!ls |"):
        assert at(cell, mode=True) is None


@pytest.mark.parametrize(
    ("magic", "words", "typed", "ways"),
    [
        ("dist_init", ("--on-hang", ""), "", ("free", "report", "wait")),
        ("dist_init", ("--on-hang=fr",), "fr", ("free", "report", "wait")),
        ("dist_init", ("",), "", ("gloo", "nccl")),
        ("dist_init", ("gloo", ""), "", ("--on-hang",)),
        ("dist_init", ("--o",), "--o", ("--on-hang",)),
        ("dist", ("-r", ""), "", RANK_SELECTIONS),
        ("dist", ("-r0",), "0", RANK_SELECTIONS),
        ("dist", ("--ranks=0,",), "0,", RANK_SELECTIONS),
        ("dist", ("-",), "-", ("-r", "--ranks", "--timeout", "--no-wait")),
        ("dist", ("",), "", ("--ranks", "--timeout", "--no-wait")),
        ("dist", ("--timeout", ""), "", ()),
        ("rank", ("",), "", RANK_SELECTIONS),
        ("dist_pull", ("",), "", NAMES_THERE),
        ("dist_pull", ("x", "y"), "y", NAMES_THERE),
        ("dist_pull", ("x", "-r", ""), "", RANK_SELECTIONS),
        ("dist_bench", ("",), "", ("all_reduce",)),
        ("dist_bench", ("all_reduce", ""), "", ("--sizes",)),
        ("dist_mesh", ("",), "", ("--name",)),
        ("dist_mesh", ("dp",), "dp", ()),
        ("dist_run", ("tr",), "tr", SCRIPTS),
        ("dist_run", ("train.py", "--"), "--", ()),
        ("trace", ("--profile", "-"), "-", ("--profile", "--trace")),
    ],
)
def test_completions_next_to_a_magic(magic, words, typed, ways):
    assert wanted(MAGICS[magic], words) == Wanted(typed, ways)


def offered(wanted, before=()):
    return offers(
        wanted,
        before,
        ranks=lambda: ["0", "1", "2", "tp=0"],
        here=lambda: ["here"],
        there=lambda typed: ["there"],
    )


@pytest.mark.parametrize(
    ("typed", "left", "words"),
    [
        ("", "", ["all", "0", "1", "2", "tp=0"]),
        ("0,", "", ["1", "2", "tp=0"]),
        ("0-", "", ["0", "1", "2"]),
        ("0,1-2", "2", ["2"]),
        ("t", "t", ["tp=0"]),
        ("tp=", "tp=", ["tp=0"]),
        ("1:", "1:", []),
    ],
)
def test_selections_of_ranks_complete_part_by_part(typed, left, words):
    assert offered(Wanted(typed, RANK_SELECTIONS)) == (left, words)


def test_scripts_modules_and_what_a_script_takes_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "data.csv", ".hidden.py", "tests/a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert offered(Wanted("t", SCRIPTS)) == ("t", ["tests/", "train.py"])
    assert offered(Wanted("tests/", SCRIPTS)) == ("tests/", ["tests/a.py"])
    assert offered(Wanted("", FILES))[1] == ["data.csv", "tests/", "train.py"]
    assert offered(Wanted("nowhere/", FILES))[1] == []
    assert "json" in offered(Wanted("jso", SCRIPTS), ["-m"])[1]
    assert offered(Wanted("json.too", SCRIPTS), ["-m"]) == ("json.too", ["json.tool"])
    assert offered(Wanted("nothing.of.it", SCRIPTS), ["-m"])[1] == []


@pytest.mark.parametrize(
    ("marked", "name"),
    [
        ("model|", "model"),
        ("mod|el.weight", "model"),
        ("model.wei|ght.grad", "model.weight"),
        ("layers[0].wei|ght", "layers[0].weight"),
        ("state['0.weight']|", "state['0.weight']"),
        ("layers[0].forward(|", "layers[0].forward"),
        ("layers[0].forward(1, (2),\n    |", "layers[0].forward"),
        ("f(1, layers[0]|)", "f"),
        ("f(x|", "f"),
        ("f(1, |", "f"),
        ("x = [1, |", ""),
        ("5|", ""),
        ("|", ""),
    ],
)
def test_the_name_at_the_cursor_has_its_indices(marked, name):
    assert name_at(marked.replace("|", ""), marked.index("|")) == name
