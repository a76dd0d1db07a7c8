"""Hints for mistakes that are made in any exercise."""

from __future__ import annotations

import pytest

from rankbook.teach.trying import Tried
from rankbook.teach.usual import DOTS, YIELDS, usual_hint

NONE = Tried({0: {"finding": "other", "got": "None", "want": "4"}})
OTHER = Tried({0: {"finding": "other", "got": "3", "want": "4"}})
YIELDED = Tried({0: {"finding": "other", "got": "<generator object f>", "want": "4"}})
HANG = Tried({}, hang="missing_rank", advice="Often it is a branch.")
RAISED = Tried({}, raised={0: ("TypeError", "TypeError: unsupported: 'NoneType' and 'int'")})


def hint_for(code, tried, *, is_here=False):
    return usual_hint("f", code, tried, is_here=is_here)


@pytest.mark.parametrize(
    ("body", "tried", "begins"),
    [
        ("    ...\n", NONE, DOTS),
        ("    x = x + 1\n", NONE, "The function ends without a return."),
        ("    return dist.all_reduce(x)\n", NONE, "Collectives of torch return None"),
        ("    y = dist.broadcast(x, 0)\n    return y / 2\n", RAISED, "Collectives of torch"),
        ("    dist.all_reduce(x, async_op=True)\n    return x\n", OTHER, "Nobody waits"),
        ("    h = dist.isend(x, 1)\n    return x\n", OTHER, "Nobody waits"),
        ("    yield x\n", YIELDED, YIELDS),
        ("    dist.barrier()\n", HANG, "Often it is a branch."),
    ],
)
def test_a_usual_mistake_gets_its_hint(body, tried, begins):
    assert hint_for(f"def f(x):\n{body}", tried).startswith(begins)


@pytest.mark.parametrize(
    ("body", "tried"),
    [
        ("    return x + 1\n", OTHER),
        ("    return lookup(x)\n", NONE),
        ("    h = dist.isend(x, 1)\n    h.wait()\n    return x\n", OTHER),
    ],
)
def test_where_no_usual_mistake_is_seen_there_is_no_hint(body, tried):
    assert hint_for(f"def f(x):\n{body}", tried) == ""


def test_what_was_defined_in_the_notebook_alone_is_reported_before_all_else():
    assert hint_for("def f(x):\n    ...\n", NONE, is_here=True).endswith("with %%dist.")
