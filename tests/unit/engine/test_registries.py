"""What a script registers in libraries is there until the next one begins."""

from __future__ import annotations

import sys
import types

import pytest

from rankbook.engine.cells import patches, registries

LIBRARY = """
import collections

class Registry:
    by_class = {}
    def __init__(self):
        self.models = {}
    def register(self, name, model):
        if name in self.models:
            raise KeyError(name)
        self.models[name] = model

class Backend:
    known, made = ['gloo'], {}
    def register(name, make):
        if name not in Backend.known:
            Backend.known.append(name)
            setattr(Backend, name.upper(), name)
            Backend.made[name.upper()] = make

class Lazy(collections.OrderedDict):
    def items(self):
        raise ValueError('would load everything')
    def __len__(self):
        return 0

MODELS, LAZY, CALLED, WRAPPED, MANY = Registry(), Lazy(), [], {}, {'first': 1}
LAZY.extra = {}

def wrap(function):
    return lambda *args: function(*args)
"""

SCRIPT = """
import library_with_registries as library
class Mine: pass
def mine(): return 1
library.MODELS.register('mine', Mine)
assert 'mine' not in library.LAZY and not library.LAZY.extra
assert 'mine' not in library.WRAPPED and Mine not in library.Registry.by_class
assert len(library.CALLED) == 0 and len(library.MANY) == 1
library.LAZY['mine'] = library.LAZY.extra['mine'] = mine
library.CALLED.append(mine)
library.WRAPPED['mine'] = library.wrap(mine)
library.Registry.by_class[Mine] = 'a name'
library.Backend.register('mine', mine)
library.MANY['mine'] = ('description', Mine)
"""


def run(code):
    """Run a script's code."""
    module = types.ModuleType("__main__")
    registries.forget()
    with patches.put_back("/nowhere"):
        exec(code, vars(module))  # noqa: S102 - code of this test


@pytest.fixture
def library(monkeypatch):
    """A library with registries of all kinds."""
    module = types.ModuleType("library_with_registries")
    exec(LIBRARY, vars(module))  # noqa: S102 - code of this test
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module
    run("")


def test_a_script_registers_the_same_again_in_each_run(library):
    for _ in range(3):
        run(SCRIPT)
        assert library.MODELS.models["mine"]  # a cell may use it
    run("")
    assert library.MODELS.models == library.WRAPPED == library.Registry.by_class == {}
    assert library.MANY == {"first": 1}


def test_no_part_of_an_entry_stays_that_would_keep_the_next_run_from_making_it(library):
    for _ in range(2):
        run(SCRIPT)
        assert set(library.Backend.made) == {"MINE"}
    run("")
    assert library.Backend.known == ["gloo"]
    assert library.Backend.made == {}
    assert not hasattr(library.Backend, "MINE")


def test_so_it_does_in_a_library_that_its_first_run_imports(library, monkeypatch):
    monkeypatch.delitem(sys.modules, library.__name__)

    def imported():
        sys.modules[library.__name__] = library

    library.imported = imported
    module = types.ModuleType("__main__")
    with patches.put_back("/nowhere"):
        imported()
        exec(SCRIPT, vars(module))  # noqa: S102
    run(SCRIPT)


def test_what_libraries_and_cells_have_registered_stays(library, monkeypatch):
    library.MODELS.register("other", library.Registry)
    cell = types.ModuleType("__main__")
    exec("def mine(): pass", vars(cell))  # noqa: S102
    library.CALLED.append((1, cell.mine))
    monkeypatch.setitem(sys.modules, "__main__", cell)
    run(
        "import library_with_registries as library\n"
        "library.MODELS.register('late', library.Registry)\n"
        "library.CALLED.insert(0, (0, lambda: 1))\n"
        "library.CALLED.append(print)\n"
        "library.MODELS.register('own', lambda: 1)\n"
    )
    run("")
    assert library.MODELS.models == {"other": library.Registry, "late": library.Registry}
    assert [(1, cell.mine), print] == library.CALLED


def test_a_script_names_its_compiler_and_its_rendezvous_in_each_run():
    for _ in range(3):  # a name that is taken is refused
        run(
            "from torch._dynamo import register_backend\n"
            "from torch.distributed.rendezvous import register_rendezvous_handler\n"
            "@register_backend\ndef compiler_of_a_script(graph, inputs): return graph\n"
            "register_rendezvous_handler('ofascript', lambda url, **more: iter(()))"
        )
    run("")
