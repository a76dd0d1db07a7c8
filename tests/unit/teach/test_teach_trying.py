"""Which cell defined what is checked, and whether it got to the ranks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from own_lesson import LESSON

from rankbook.models.cells import CellSpan
from rankbook.teach import trying

ADD = LESSON.find("add")
OLD = "def add(x):\n    return x\n"
BROKEN = "%%dist\ndef add(x)\n    return x\n"


def ran(number):
    return CellSpan(number, "", 0.0, 1.0, code=OLD, ranks=(0, 1))


@pytest.fixture
def notebook(monkeypatch):
    """A notebook whose cells are typed here, and the cells that its ranks have run."""

    def of(typed, spans, **names):
        history = SimpleNamespace(input_hist_raw=["", *typed])
        shell = SimpleNamespace(history_manager=history, user_ns=names)
        monkeypatch.setattr("IPython.get_ipython", lambda: shell)
        monkeypatch.setattr(trying, "session", lambda: SimpleNamespace(cells=spans))

    return of


@pytest.mark.parametrize(
    ("typed", "spans", "unsent"),
    [
        ([f"%%dist\n{OLD}", "check('add')"], [ran(1)], False),
        ([f"%%dist\n{OLD}", BROKEN], [ran(1)], True),
        ([f"%%dist\n{OLD}", f"%%dist -r 9\n{OLD}"], [ran(1)], True),
        ([f"%%dist\n{OLD}", BROKEN, f"%%dist\n{OLD}"], [ran(1), ran(3)], False),
        ([f"%%time\n%%dist\n{OLD}"], [ran(1)], False),
        ([BROKEN], [], False),  # the ranks lack the name, which is said
        (["add = 3"], [ran(0)], False),  # a program defined it
        ([], [ran(1)], False),
    ],
)
def test_a_cell_that_did_not_get_to_the_ranks_is_not_taken_for_the_one_before(
    notebook, typed, spans, unsent
):
    notebook(typed, spans)
    assert trying.is_unsent(ADD) is unsent


@pytest.mark.parametrize(
    ("typed", "names", "here"),
    [
        ([OLD], {"add": 1}, True),
        ([f"%%dist\n{OLD}"], {"add": 1}, False),
        ([OLD, f"%%dist\n{OLD}"], {"add": 1}, False),
        ([OLD], {}, False),
        ([], {"add": 1}, False),
    ],
)
def test_a_plain_cell_defines_in_the_notebook(notebook, typed, names, here):
    notebook(typed, [], **names)
    assert trying.is_here(ADD) is here


def test_a_program_has_typed_nothing(monkeypatch):
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    monkeypatch.setattr(trying, "session", lambda: SimpleNamespace(cells=[ran(1)]))
    assert not trying.is_here(ADD)
    assert not trying.is_unsent(ADD)
