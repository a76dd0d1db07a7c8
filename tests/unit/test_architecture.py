"""The architecture document names what is there: its tables of rooms are read, and compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from unit.test_import_layers import FLOORS

import rankbook

SOURCE = Path(rankbook.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs/explanation/architecture.md").read_text()

THERE = {path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*")}
ENDS = {"/".join(path.split("/")[at:]) for path in THERE for at in range(path.count("/") + 1)}

TOLD = ("cluster", "engine", "sessions")
ROOMS = [
    path.parent.relative_to(SOURCE).as_posix()
    for top in TOLD
    for path in sorted((SOURCE / top).rglob("__init__.py"))
]


def test_the_floors_on_the_page_are_those_of_the_imports():
    rows = re.findall(r"^\| (\d) \| (.*?) \|", PAGE, re.MULTILINE)
    told = {int(number): set(re.findall(r"`(\w+)`", names)) for number, names in rows}
    assert told == {number: floor - {""} for number, floor in enumerate(FLOORS)}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_]+(?:/[a-z_]+)+)`", PAGE))))
def test_a_module_that_the_page_names_is_there(path):
    assert path in ENDS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_/]+\.py)`", PAGE))))
def test_a_file_that_the_page_names_is_there(path):
    assert path.removesuffix(".py") in ENDS or (Path(__file__).parents[2] / path).is_file()


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_names_every_module_of_a_room(room):
    names = {path.stem for path in (SOURCE / room).glob("*.py")} - {"__init__"}
    assert {name for name in names if not re.search(rf"\b{name}\b", PAGE)} == set()


def test_the_page_says_why_a_file_has_more_than_300_lines():
    _, _, told = PAGE.partition("## Files of more than 300 lines")
    sources = [path for kind in ("py", "css", "js") for path in SOURCE.rglob(f"*.{kind}")]
    long = {
        path.relative_to(SOURCE).as_posix()
        for path in sources
        if len(path.read_text().splitlines()) > 300
    }
    assert long == set(re.findall(r"`([a-z_/]+\.[a-z]+)`", told))
