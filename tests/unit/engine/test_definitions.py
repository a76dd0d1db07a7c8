"""What cells have defined is run without anything else that they do."""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest
from IPython.core.interactiveshell import InteractiveShell

from rankbook import cellnames
from rankbook.engine.values import definitions

DEFINE = [
    "import math",
    "from math import pi as p",
    "def f(): return 1",
    "async def f(): return 1",
    "class A: x = 1",
    "@property\ndef f(self): return 1",
    "try:\n    import no_such_module\nexcept ImportError:\n    import math",
    "if True:\n    import math\nelse:\n    pass",
]

DO = [
    "x = 1",
    "f()",
    "model = Net()",
    "for x in range(3): pass",
    "with open('x') as f: pass",
    "if f():\n    import math",
    "try:\n    f()\nexcept ValueError:\n    pass",
    "try:\n    import math\nfinally:\n    f()",
    "while True: break",
    "assert f()",
    "del x",
    "x += f()",
    "lambda: 1",
]


@pytest.mark.parametrize("code", DEFINE)
def test_imports_functions_and_classes_are_kept(code):
    assert [one.text for one in definitions.of(code)] == [code]


@pytest.mark.parametrize("code", DO)
def test_statements_with_side_effects_are_left_out_of_definitions(code):
    assert definitions.of(code) == []


def test_of_a_cell_with_both_only_what_defines_is_kept():
    kept = definitions.of("import math\nx = g()\ndef f():\n    return h()\nf()")
    assert [one.text for one in kept] == ["import math", "def f():\n    return h()"]


def test_a_cell_that_is_no_python_defines_nothing():
    assert definitions.of("def f(:") == []
    assert definitions.of("\0") == []


def test_names_of_functions_and_classes_are_found():
    cells = ["def f(): ...\nx = 1", "class A:\n    def g(self): ..."]
    assert definitions.names([*cells, "if True:\n    class B: ..."]) == {"f", "A", "B"}


def test_names_are_found_while_python_parses(amid_a_parse):
    """Python 3.11 fails where a parse begins before another has ended."""
    found = amid_a_parse(lambda: definitions.names(["def f(): ...  # read amid a parse"]))
    assert set().union(*found) == {"f"}


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    yield shell
    InteractiveShell.clear_instance()


def test_definitions_run_once_more_at_the_end_where_they_need_what_comes_later(shell):
    cells = ["class B(A): pass", "class A: pass", "import no_such_module_anywhere\ny = 1"]
    failed = list(definitions.run(dict.fromkeys(cells, "In [3]"), shell))
    assert [line for line, _ in failed] == ["import no_such_module_anywhere"]
    assert failed[0][1].startswith("ModuleNotFoundError")
    assert issubclass(shell.user_ns["B"], shell.user_ns["A"])
    assert "y" not in shell.user_ns


def test_a_function_that_was_defined_so_keeps_its_source_and_the_name_of_its_cell(shell):
    source = "def f():\n    return 7\n"
    assert list(definitions.run({f"x = 1\n{source}": "In [3]"}, shell)) == []
    assert textwrap.dedent(inspect.getsource(shell.user_ns["f"])) == source
    assert cellnames.cell_of(shell.user_ns["f"].__code__.co_filename) == "In [3]"


def test_of_what_has_failed_here_nothing_is_in_the_namespace():
    failed = ["import no_such_one", "import os.no_such_one", "from os import no_such_one"]
    failed += ["class A(no_such_one): pass", "if True:\n    import no_such_one as n"]
    bound = ["import os.path", "import os as o", "from os import *", "def f(): pass", "pass"]
    namespace = {"os": ..., "o": ..., "f": ...}
    lines = [ast.unparse(ast.parse(one)).splitlines()[0] for one in failed]
    assert [*definitions.unbound([*failed, *bound], namespace)] == lines
