"""Which loops end by the answer that they ask for only, as far as their text tells."""

from __future__ import annotations

import linecache
from types import SimpleNamespace

import pytest

from rankbook.calls.loops import ends_by_answer_only

CELL = "<module>"

ENDLESS = {
    "nothing between": ("while not work.is_completed(): pass", [(CELL, 1, 1)]),
    "a pause": ("while not work.is_completed():\n    time.sleep(0.01)", [(CELL, 1, 1)]),
    "a break": (
        "while True:\n    if work.is_completed():\n        break\n    time.sleep(1)",
        [(CELL, 2, 1)],
    ),
    "a counter": ("n = 0\nwhile not future.done():\n    n += 1\n    print(n)", [(CELL, 2, 1)]),
    "all of several": (
        "while not all(each.is_completed() for each in works):\n    time.sleep(1)",
        [("<genexpr>", 1, 1), (CELL, 1, 1)],
    ),
    "a list of those that are left": (
        "while left:\n    left = [each for each in left if not each.is_completed()]",
        [("<listcomp>", 2, 2), (CELL, 2, 1)],
    ),
    "in a function": (
        "def wait(work):\n    while not work.is_completed():\n        time.sleep(1)\nwait(work)",
        [("wait", 2, 1), (CELL, 4, 1)],
    ),
    "by a function": (
        "def ready():\n    return work.is_completed()\nwhile not ready():\n    time.sleep(1)",
        [("ready", 2, 1), (CELL, 3, 1)],
    ),
    "a name": (
        "done = work.is_completed()\nwhile not done:\n    done = done or work.is_completed()",
        [(CELL, 3, 1)],
    ),
    "a message when it takes long": (
        "while not work.is_completed():\n    if time.time() - start > 5:\n        print('waiting')",
        [(CELL, 1, 1)],
    ),
    "one rank only": ("while rank == 0 and not work.is_completed(): pass", [(CELL, 1, 1)]),
    "a walrus": ("while not (done := work.is_completed()):\n    pass", [(CELL, 1, 1)]),
}

MAY_END = {
    "a deadline in the condition": "while not work.is_completed() and time.time() < end: pass",
    "a deadline in the body": (
        "while not work.is_completed():\n    if time.time() > end:\n        raise TimeoutError"
    ),
    "some work": "while not work.is_completed():\n    step()",
    "another collective": "while not work.is_completed():\n    dist.barrier()",
    "a number of times": "for i in range(10):\n    if work.is_completed():\n        break",
    "a counter in the condition": "while n < 10:\n    work.is_completed()\n    n += 1",
    "another thread's flag": "while not work.is_completed() and not stop: pass",
    "no loop": "work.is_completed()",
    "what does not parse": "while not work.is_completed(:",
}


@pytest.fixture
def ends(monkeypatch):
    def tell(text, stack):
        known = (1, None, text.splitlines(keepends=True), "/a.py")
        monkeypatch.setitem(linecache.cache, "/a.py", known)
        lines = [
            (SimpleNamespace(co_filename="/a.py", co_name=name, co_firstlineno=first), line)
            for name, line, first in stack
        ]
        return ends_by_answer_only(lines)

    return tell


@pytest.mark.parametrize(("text", "stack"), ENDLESS.values(), ids=ENDLESS)
def test_a_loop_that_only_asks_ends_by_the_answer_only(ends, text, stack):
    assert ends(text, stack)


@pytest.mark.parametrize("text", MAY_END.values(), ids=MAY_END)
def test_a_loop_with_another_way_out_may_end_otherwise(ends, text):
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "is_completed" in each)
    assert not ends(text, [(CELL, line, 1)])


def test_of_code_whose_text_is_not_known_nothing_is_reported():
    code = SimpleNamespace(co_filename="/not/there.py", co_name=CELL, co_firstlineno=1)
    assert not ends_by_answer_only([(code, 1)])
