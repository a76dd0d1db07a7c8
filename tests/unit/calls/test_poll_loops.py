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
    "a walrus without brackets": ("while not (done := work.is_completed()): pass", [(CELL, 1, 1)]),
    "a comparison": (
        "while work.is_completed() is not True or False in [work.is_completed()]: pass",
        [(CELL, 1, 1)],
    ),
    "an item and an attribute": ("while not self.works[0].is_completed(): pass", [(CELL, 1, 1)]),
    "a condition in several lines": (
        "while not all(\n  each.is_completed()  # of a rank\n  for each in works\n):\n    pass",
        [("<genexpr>", 2, 1), (CELL, 1, 1)],
    ),
    "a line between that says how long": (
        "while not work.is_completed():\n    print(f'{time.time():.1f} s {{(it)}}', flush=True)",
        [(CELL, 1, 1)],
    ),
    "a loop in a loop": (
        "while step < 10:\n    while not work.is_completed():\n        pass\n    step += 1",
        [(CELL, 2, 1)],
    ),
    "one answer after another": (
        "while True:\n  if a.is_completed():\n    break\n  elif b.is_completed():\n    break",
        [(CELL, 4, 1)],
    ),
    "a lambda": (
        "ready = lambda: work.is_completed()\nwhile not ready():\n    pass",
        [("<lambda>", 1, 1), (CELL, 2, 1)],
    ),
    "an answer within an answer": (
        "while True:\n    if a.is_completed():\n        if b.is_completed(): break",
        [(CELL, 2, 1)],
    ),
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
    "a deadline within an answer": (
        "while True:\n    if not work.is_completed():\n        if time.time() > end: break"
    ),
    "a deadline beside an answer": (
        "while True:\n    if work.is_completed(): pass\n    elif time.time() > end: break"
    ),
    "an assertion": "while not work.is_completed():\n    assert time.time() < end",
    "a name that a deadline changes": (
        "while not done:\n    done = work.is_completed()\n    done |= time.time() > end"
    ),
    "a sum": "while work.is_completed() + stop < 1: pass",
    "a condition": "while not (work.is_completed() if rank else stop): pass",
    "a call in a message": "while not work.is_completed():\n    print(f'{step()}')",
    "a call of what was called": "while not work.is_completed():\n    steps[0]()",
    "a block in one line": "while not work.is_completed(): time.sleep(1); step()",
    "what follows with else": "while not work.is_completed():\n    pass\nelse:\n    step()",
    "a generator": "while not work.is_completed():\n    yield 1",
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


BY_FUNCTION = "def ready():\n    {}\nwhile not ready():\n    pass"


@pytest.mark.parametrize(
    "body",
    [
        "return work.is_completed() or stop",
        "if stop: return True\n    return work.is_completed()",
        "step(); return work.is_completed()",
    ],
)
def test_a_function_whose_value_does_not_depend_on_answers_alone_is_another_way_out(ends, body):
    text = BY_FUNCTION.format(body)
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "is_completed" in each)
    assert not ends(text, [("ready", line, 1), (CELL, text.count("\n"), 1)])


def test_it_is_told_while_python_parses(ends, amid_a_parse):
    """Python 3.11 fails where a parse begins before another has ended."""
    text, stack = ENDLESS["in a function"]
    told = amid_a_parse(lambda: ends(text, stack))
    assert all(told)


def test_of_code_whose_text_is_not_known_nothing_is_reported():
    code = SimpleNamespace(co_filename="/not/there.py", co_name=CELL, co_firstlineno=1)
    assert not ends_by_answer_only([(code, 1)])
