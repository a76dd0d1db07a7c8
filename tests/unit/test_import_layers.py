"""Checks every import of the package against the floors, those inside functions too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rankbook
from rankbook.engine import operations

PACKAGE = "rankbook"
SOURCE = Path(rankbook.__file__).parent

# A module imports from its own floor and from those below.
FLOORS = [
    {
        "_version",
        "cellnames",
        "driver",
        "dtypes",
        "errors",
        "folders",
        "heap",
        "fingerprints",
        "interrupts",
        "lastcalls",
        "lazy",
        "masking",
        "models",
        "ownthreads",
        "protocol",
        "ranks",
        "replicas",
        "reports",
        "timing",
        "values",
        "words",
    },
    {"bench", "calls", "diagnosis", "distributed", "engine", "timeline", "trace"},
    {"cluster"},
    {"sessions"},
    {"display", "widgets"},
    {"api", "magics", "notebook", "selftest", ""},  # "" is the package itself
    {"__main__", "cli", "pytest_plugin", "teach", "testing"},
]

# Inside sessions the rooms follow each other in this order, too; what stands beside them is a face.
ROOMS = ["changes", "members", "group", "cells", "live"]

# What a module must not import on top of that, by whatever way.
FORBIDDEN = {
    "calls": {"IPython", "ipykernel", "ipyparallel"},
    "distributed": {"IPython", "ipyparallel"},
    "display": {"ipyparallel", "ipywidgets"},
}

MODULES = {
    ".".join((PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(SOURCE.rglob("*.py"))
}


def room(module: str) -> str:
    """The part of a dotted name that the tables above speak of."""
    return module.partition(".")[2].partition(".")[0]


def turn(module: str) -> int:
    """Where a module of sessions stands among its rooms."""
    name = module.split(".")[2:3]
    return ROOMS.index(name[0]) if name and name[0] in ROOMS else len(ROOMS)


def floor(module: str) -> int:
    for number, rooms in enumerate(FLOORS):
        if room(module) in rooms:
            return number
    raise LookupError(f"{module} stands on no floor: give {room(module)!r} a place in FLOORS")


def imports(module: str, source: str, *, is_package: bool) -> Iterator[str]:
    """Dotted names of all modules that a module's source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - is_package
                parents = module.split(".")[: -up or None]
                base = ".".join([*parents, *filter(None, [base])])
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in MODULES else base


def faults(module: str, source: str, *, is_package: bool) -> list[str]:
    found = []
    for imported in imports(module, source, is_package=is_package):
        top = imported.split(".")[0]
        if top in FORBIDDEN.get(room(module), ()):
            found.append(f"{module} must not import {top}")
        if top == PACKAGE and floor(imported) > floor(module):
            found.append(f"{module} imports {imported}, which stands above it")
        if {room(module), room(imported)} == {"sessions"} and turn(imported) > turn(module):
            found.append(f"{module} imports {imported}, a room that comes after its own")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_on_a_floor(module):
    assert floor(module) in range(len(FLOORS))


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_to_the_same_or_a_lower_floor(module):
    path = MODULES[module]
    assert faults(module, path.read_text(), is_package=path.stem == "__init__") == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("rankbook.errors", "from rankbook.engine import x", "imports rankbook.engine"),
        ("rankbook.errors", "def f():\n    import rankbook.magics", "imports rankbook.magics"),
        ("rankbook.errors", "from . import errors, Session", "imports rankbook,"),
        ("rankbook.engine.host.facts", "from rankbook import __version__", "imports rankbook,"),
        ("rankbook.cluster.launch", "from ..api import start", "imports rankbook.api"),
        ("rankbook.distributed.env", "import IPython.display", "must not import IPython"),
        (
            "rankbook.sessions.members.looks",
            "from rankbook.sessions.group import repair",
            "a room that comes after its own",
        ),
        (
            "rankbook.sessions.group.repair",
            "from rankbook.sessions.turns import Turns",
            "a room that comes after its own",
        ),
        ("rankbook.display.text", "from ipywidgets import HTML", "must not import ipywidgets"),
    ],
)
def test_an_upward_import_is_found(module, source, fault):
    [message] = faults(module, source, is_package=False)
    assert fault in message


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if m.startswith(tuple(f"rankbook.sessions.{r}" for r in ROOMS[2:]))],
)
def test_above_members_no_room_of_sessions_handles_engines(module):
    """Requests go out, and answers come back, by rank."""
    tree = ast.parse(MODULES[module].read_text())
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not {name for name in named if "engine" in name.lower() and name != "EngineFacts"}


def test_only_the_register_imports_modules_with_operations():
    """What an engine consists of knows of no request, so nothing goes in a circle."""
    answering = {*operations.ROOMS, *operations.LATER}
    found = {
        (module, name)
        for module, path in MODULES.items()
        for name in imports(module, path.read_text(), is_package=path.stem == "__init__")
        if name in answering
    }
    assert found == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rankbook.engine.agent", "from rankbook.distributed.init_utils import DistInfo"),
        ("rankbook.engine.agent", "from ..errors import InputError\nfrom . import stacks"),
        ("rankbook.engine.agent", "from rankbook._version import __version__"),
        ("rankbook.magics", "from rankbook import session"),
        ("rankbook.display.text", "import torch"),
    ],
)
def test_a_downward_import_passes(module, source):
    assert faults(module, source, is_package=False) == []


def test_a_module_without_a_floor_is_found():
    with pytest.raises(LookupError, match="give 'attic' a place"):
        floor("rankbook.attic.box")
