"""What is done to a module when it is imported."""

from __future__ import annotations

import importlib
import json
import sys

import pytest
import torch.distributed as dist

from rankbook.engine import imports
from rankbook.engine.group import defaults
from rankbook.engine.processes import launching
from rankbook.errors import InputError


@pytest.fixture(autouse=True)
def undone(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(imports, "_finder", imports._Finder())


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module that can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name, text):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_a_hook_on_an_import_is_called_when_the_code_of_the_module_has_run(write):
    write("of_a_person", "value = 1\nraised = value\n")
    seen = []
    imports.when_imported("of_a_person", lambda module: seen.append(module.raised))
    assert seen == []
    importlib.import_module("of_a_person")
    importlib.import_module("of_a_person")
    assert seen == [1]


def test_a_hook_on_an_import_is_called_at_once_for_a_module_that_is_imported_already():
    seen = []
    imports.when_imported("json", seen.append)
    assert seen == [json]


def test_a_module_that_is_reloaded_is_done_again(write):
    write("of_a_person", "value = 1\n")
    seen = []
    imports.when_imported("of_a_person", seen.append)
    importlib.reload(importlib.import_module("of_a_person"))
    assert len(seen) == 2


def test_a_module_that_does_not_exist_is_not_found_because_of_a_hook_on_its_import():
    imports.when_imported("not_there_at_all", print)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("not_there_at_all")


def test_a_module_that_raises_is_left_alone(write):
    write("of_a_person", "1 / 0\n")
    seen = []
    imports.when_imported("of_a_person", seen.append)
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("of_a_person")
    assert seen == []


def test_a_launcher_for_notebooks_says_what_to_write_instead(write):
    write("accelerate.__init__", "from accelerate.launchers import notebook_launcher\n")
    write(
        "accelerate.launchers",
        "def notebook_launcher(function, args=(), num_processes=None, mixed_precision='no'):\n"
        "    return function(*args)\n",
    )
    launching.install.__wrapped__()
    module = importlib.import_module("accelerate")

    def train(steps):
        return steps

    with pytest.raises(InputError, match=r"call train\(3\) instead, which %%dist runs on all"):
        module.notebook_launcher(train, (3,), num_processes=2)
    with pytest.raises(InputError, match=r"call train\(\.\.\.\) instead"):
        module.notebook_launcher(train, ("x" * 100,), mixed_precision="fp16")
    assert module.notebook_launcher(train, args=(3,), num_processes=1) == 3
    for name in ("accelerate", "accelerate.launchers"):
        del sys.modules[name]


def test_a_function_with_the_default_group_of_its_import_takes_the_present_one(write):
    write(
        "reduces",
        "import torch.distributed as dist\n"
        "def sum_up(x, times=2, group=dist.group.WORLD): return group\n"
        "class Scaler:\n"
        "    def __init__(self, group=dist.group.WORLD): self.group = group\n",
    )
    imports.when_imported("reduces", defaults._forget_group)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        reduces = importlib.import_module("reduces")
    finally:
        dist.destroy_process_group()
    assert reduces.sum_up.__defaults__ == (2, None)
    assert reduces.Scaler().group is None
