"""Which modules a script imports again."""

from __future__ import annotations

import sys
from importlib import import_module, machinery
from types import ModuleType

import pytest

from rankbook.engine.cells import modules

LIBRARY = 'import torch\nlibrary = torch.library.Library("rankbook_own_modules", "DEF")\n'


@pytest.fixture
def own():
    """Tells which own modules there are, but those of the tests."""
    of_tests = {*modules.own("/elsewhere")}
    return lambda: {*modules.own("/elsewhere")} - of_tests


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in ``sys.path`` with modules, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}
    yield tmp_path
    for name in sys.modules.keys() - before:
        del sys.modules[name]


def write(folder, name, text=""):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_packages_outside_the_folders_of_installed_ones_are_own(folder, own):
    write(folder, "mine/__init__.py")
    write(folder, "mine/core.py")
    import_module("mine.core")
    assert own() == {"mine", "mine.core"}


def test_a_value_that_does_not_say_of_which_class_it_is_does_no_harm(folder, own):
    lazy = "class Lazy:\n    @property\n    def __class__(self):\n        raise ValueError\n"
    write(folder, "lazily.py", f"{lazy}it = Lazy()\n")
    import_module("lazily")
    assert own() == {"lazily"}


def test_installed_packages_those_of_python_and_ours_are_not_own(folder):
    write(folder, "site-packages/theirs.py")
    sys.path.insert(0, str(folder / "site-packages"))
    import_module("theirs")
    found = modules.own("/elsewhere").keys()
    assert not found & {"theirs", "torch", "numpy", "json", "pytest", "rankbook", "__main__"}


def test_a_package_with_compiled_code_or_operators_is_imported_once(folder, own):
    write(folder, "compiled/__init__.py")
    write(folder, "operators/__init__.py")
    write(folder, "operators/inner.py", LIBRARY)
    import_module("compiled")
    import_module("operators.inner")
    part = sys.modules["compiled.part"] = ModuleType("compiled.part")
    part.__file__ = f"{folder}/compiled/part{machinery.EXTENSION_SUFFIXES[0]}"
    assert not own()
    assert "compiled.part" in modules.own(str(folder))  # beside the script


def test_own_modules_are_imported_again_within_and_are_as_before_afterwards(folder):
    write(folder, "mine.py", "calls = 0")
    mine = import_module("mine")
    mine.calls = 1
    with modules.imported_again("/elsewhere"):
        write(folder, "other.py")
        import_module("other")
        assert import_module("mine").calls == 0
    assert sys.modules["mine"] is mine
    assert "other" not in sys.modules
