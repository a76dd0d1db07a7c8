"""What the documentation says is what the code does, where that can be checked without ranks."""

from __future__ import annotations

import ast
import html
import inspect
import re
import runpy
import shlex
import textwrap
from pathlib import Path

import nbformat
import pytest
from pygments.token import Error, Keyword, Name

from rankbook import ranks
from rankbook.engine.group.group import Group
from rankbook.magics import families
from rankbook.models.meshes import NamedMesh

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOKS = sorted(DOCS.parent.joinpath("notebooks").glob("*.ipynb"))
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
REFERENCE = runpy.run_path(str(DOCS / "_ext" / "magic_reference.py"))
MAGICS = REFERENCE["methods"]()

WRITTEN = re.compile(r"%{1,2}(?:dist\w*|rank|local|dashboard)\b")
IN_A_BLOCK = re.compile(r"^%{1,2}(dist_\w+|dashboard)\b(.*)$", re.MULTILINE)
BLOCK = re.compile(r"^```(?:text|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines_on(path):
    """The lines with a magic that a page shows, by the magic's name."""
    blocks = BLOCK.findall(path.read_text())
    return [found for block in blocks for found in IN_A_BLOCK.findall(block)]


def with_any(find):
    """The pages with something to look at: most have, else it is looked for in vain."""
    found = [path for path in PAGES if find(path)]
    assert len(found) >= 20
    return pytest.mark.parametrize("path", found, ids=lambda path: path.stem)


def page(name):
    return (DOCS / name).read_text()


def test_the_reference_has_every_magic():
    text = REFERENCE["page"]()
    assert REFERENCE["MARKER"] in page("reference/magics.md")
    for kind, mark in (("line", "%"), ("cell", "%%")):
        for name in (name for family in families() for name in family.magics[kind]):
            assert re.search(rf"^## .*`{mark}{name}`", text, re.MULTILINE), f"{mark}{name}"


@pytest.mark.parametrize("name", [name for name in MAGICS if hasattr(MAGICS[name], "parser")])
def test_the_reference_has_every_option_with_its_help(name):
    method = MAGICS[name]
    listed = dict(REFERENCE["options"](method))
    help_text = " ".join(method.parser.format_help().split())
    for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", method.parser.format_usage()):
        assert any(option in re.split(r"[ ,]+", written) for written in listed), option
    for meaning in listed.values():
        assert meaning
        assert meaning in help_text


def test_the_options_of_a_magic_are_read_as_a_user_writes_them():
    assert [written for written, _ in REFERENCE["options"](MAGICS["dist_reset"])] == [
        "BACKEND",
        "--hard",
        "--clean",
    ]
    assert "-r RANKS, --ranks RANKS" in dict(REFERENCE["options"](MAGICS["dist"]))


def magics_on(path):
    return sorted(set(WRITTEN.findall(path.read_text())))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_magic_that_a_page_names_exists(path):
    known = {mark for name in MAGICS for mark in REFERENCE["names"](name)}
    assert set(magics_on(path)) <= known


@with_any(lines_on)
def test_every_line_that_a_page_shows_can_be_typed(path):
    for name, line in lines_on(path):
        MAGICS[name].parser.parse_args(shlex.split(line))


@with_any(lambda path: PYTHON.findall(path.read_text()))
def test_every_cell_of_a_page_is_coloured_as_python(path):
    lexer = runpy.run_path(str(DOCS / "_ext" / "cells.py"))["CellLexer"]()
    for block in PYTHON.findall(path.read_text()):
        assert [text for kind, text in lexer.get_tokens(block) if kind is Error] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_cell_of_a_page_is_without_colours(path):
    assert re.findall(r"^```text\n([%!].*?)^```", path.read_text(), re.MULTILINE | re.DOTALL) == []


def test_code_below_a_cell_magic_and_behind_a_line_magic_is_coloured():
    lexer = runpy.run_path(str(DOCS / "_ext" / "cells.py"))["CellLexer"]()
    tokens = list(lexer.get_tokens("%%dist -r 0,1 --timeout 3\nfor x in y:\n    %time f(1)\n"))
    assert {(Name.Attribute, "--timeout"), (Keyword, "for"), (Keyword, "time")} <= set(tokens)
    assert (Name, "f") in tokens


def rows(text):
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [(first.strip().strip("`"), second.strip()) for first, second in cells]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_is_a_page_as_it_was_executed(path):
    assert f"rendered/{path.stem}.html" in page(f"lessons/{path.stem}.md")
    assert f"]({path.stem}.md)" in page("lessons/index.md")
    assert f"\n{path.stem}\n" in page("lessons/index.md")
    executed = html.unescape(page(f"lessons/rendered/{path.stem}.html"))
    cells = nbformat.read(path, as_version=4).cells
    assert executed.count("cell border-box-sizing") == len(cells)
    source = "\n".join(cell.source for cell in cells)
    headings = re.findall(r"^##+ ([^`*\n]+)$", source, re.MULTILINE)
    assert headings
    for heading in headings:
        assert f">{heading}<" in executed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_verdict_on_a_page_names_the_cell_or_the_file_of_its_line(path):
    assert not re.search(
        r"^(HangError|Ranks? [\d,-]+ ).*\(line \d", path.read_text("utf-8"), re.MULTILINE
    )


def test_the_table_of_selections_of_ranks_is_true():
    table = rows(page("reference/ranks.md"))
    assert len(table) == 14
    mesh = NamedMesh(("dp", "tp"), (4, 2), tuple(range(8)))
    for written, chosen in table:
        assert ranks.parse(written, 8, mesh) == tuple(map(int, chosen.split(", "))), written


def test_every_name_and_variable_that_a_rank_gets_is_listed():
    text = page("reference/environment.md")
    tree = ast.parse(textwrap.dedent(inspect.getsource(Group.initialize)))
    updates = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "update"
    ]
    given = {keyword.arg for node in updates for keyword in node.keywords}
    assert {"RANK", "dist_info"} <= given
    assert [name for name in sorted(given) if f"`{name}`" not in text] == []
    assert [
        name
        for name in re.findall(r"[A-Z]+_SOCKET_IFNAME", inspect.getsource(Group))
        if name not in text
    ] == []


def test_the_architecture_page_lists_the_enforced_floors():
    layers = runpy.run_path(str(Path(__file__).with_name("test_import_layers.py")))["FLOORS"]
    told = {
        int(floor): set(re.findall(r"`(\w+)`", rooms))
        for floor, rooms in re.findall(
            r"^\| (\d) \| ([^|]+) \|", page("explanation/architecture.md"), re.MULTILINE
        )
    }
    assert told == {number: rooms - {""} for number, rooms in enumerate(layers)}
