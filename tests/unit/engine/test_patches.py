"""What a script replaces in libraries is put back at its end."""

from __future__ import annotations

import functools
import gc
import json
import os
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from rankbook.engine.cells import patches


def run(code):
    """Run a script's code, its patches put back afterwards."""
    module = types.ModuleType("__main__")
    with patches.put_back("/nowhere"):
        exec(code, vars(module))  # noqa: S102 - code of this test
    return module


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (
            "import torch\ntorch.Tensor.__repr__ = lambda self: 'mine'",
            lambda: torch.Tensor.__repr__,
        ),
        (
            (
                "import functools, torch\n"
                "torch.load = functools.partial(torch.load, weights_only=False)"
            ),
            lambda: torch.load,
        ),
        (
            (
                "import functools, torch.nn.functional as F\nformer = F.linear\n"
                "@functools.wraps(former)\n"
                "def mine(*args):\n    return former(*args)\nF.linear = mine"
            ),
            lambda: F.linear,
        ),
        (
            "import json\njson.JSONEncoder.default = lambda self, value: str(value)",
            lambda: json.JSONEncoder.default,
        ),
        (
            ("import subprocess\nclass Mine(subprocess.Popen):\n    pass\nsubprocess.Popen = Mine"),
            lambda: subprocess.Popen,
        ),
        (
            "import torch\ntorch.Tensor.new = classmethod(lambda cls: 1)",
            lambda: torch.Tensor.new,
        ),
        (
            "import torch\ntorch.nn.Module.__call__ = property(lambda self: 1)",
            lambda: torch.nn.Module.__call__,
        ),
        (
            "from unittest import mock\nmock.patch('os.getcwd').start()",
            lambda: os.getcwd,
        ),
    ],
    ids=[
        "a method",
        "an argument given",
        "a wrapper that looks like what it wraps",
        "Python's own library",
        "a class",
        "an inherited method",
        "a property",
        "a mock",
    ],
)
def test_what_a_script_has_replaced_is_there_again(code, value):
    before = value()
    run(code)
    assert value() is before


def test_what_a_cell_replaces_between_scripts_stays(monkeypatch):
    monkeypatch.setattr(json, "dumps", json.dumps)
    run("import json")
    cell = types.ModuleType("__main__")
    exec("import json\njson.dumps = lambda value: 'mine'", vars(cell))  # noqa: S102
    run("import json\njson.dumps = lambda value: 'of the script'")
    assert json.dumps(1) == "mine"


def test_a_class_that_refuses_every_question_harms_no_script(monkeypatch):
    class Refusing(type):
        def __getattribute__(cls, name):
            raise ValueError(name)

    library = types.ModuleType("library_that_refuses")
    library.Odd = Refusing("Odd", (), {"__module__": library.__name__})
    monkeypatch.setitem(sys.modules, library.__name__, library)
    before = torch.load
    run("import torch, library_that_refuses as odd\ntorch.load = odd.Odd")
    run("import torch\ntorch.load = lambda: 1")
    assert torch.load is library.Odd  # a library's own stays
    torch.load = before


def test_what_a_script_has_added_stays_and_what_a_library_has_replaced(monkeypatch):
    library = types.ModuleType("library_that_patches")
    monkeypatch.setitem(sys.modules, library.__name__, library)
    exec("def shout(text):\n    return text.upper()", vars(library))  # noqa: S102 - as imported
    monkeypatch.setattr(json, "dumps", json.dumps)
    run(
        "import json, library_that_patches, torch\n"
        "json.dumps = library_that_patches.shout\n"
        "torch.nn.Module.count_of_rankbook = lambda self: 3"
    )
    assert json.dumps("a") == "A"
    assert torch.nn.Module().count_of_rankbook() == 3
    del torch.nn.Module.count_of_rankbook


def test_finders_and_callbacks_of_a_script_go_and_others_stay(monkeypatch):
    finders, called = sys.meta_path[:], gc.callbacks[:]
    other = functools.partial(print, end="")
    run(
        "import gc, sys\n"
        "class Finder:\n    def find_spec(self, *_):\n        return None\n"
        "sys.meta_path.insert(0, Finder())\n"
        "gc.callbacks.append(lambda *_: None)\n"
        "sys.path_hooks.append(Finder)\n"
        "sys.modules['rankbook_forbidden'] = None"
    )
    assert sys.meta_path == finders
    assert gc.callbacks == called
    run("import sys\nclass Finder:\n    pass\nsys.meta_path = [Finder, *sys.meta_path]")
    assert sys.meta_path == finders
    assert "rankbook_forbidden" not in sys.modules
    monkeypatch.setattr(sys, "path_hooks", sys.path_hooks)
    with patches.put_back("/nowhere"):
        sys.path_hooks.append(other)  # of a library
    assert sys.path_hooks.pop() is other


LATE = """
def load():
    return []

class Model:
    def forward(self):
        return []
"""

WRAPS = """
import library_that_comes_late as late
before, forward = late.load, late.Model.forward
def mine():
    return ["mine", *before()]
def wrapped(former):
    return lambda self: ["mine", *former(self)]
late.load, late.Model.forward = mine, wrapped(forward)
assert late.load() == late.Model().forward() == ["mine"]
"""


def test_what_a_script_wraps_in_a_library_that_it_imports_itself_is_wrapped_once(monkeypatch):
    late = types.ModuleType("library_that_comes_late")
    exec(LATE, vars(late))  # noqa: S102 - code of this test
    module = types.ModuleType("__main__")
    with patches.put_back("/nowhere"):
        monkeypatch.setitem(sys.modules, late.__name__, late)
        exec(WRAPS, vars(module))  # noqa: S102
    assert late.load() == late.Model().forward() == []
    for _ in range(2):
        run(WRAPS)
        assert late.load() == late.Model().forward() == []
