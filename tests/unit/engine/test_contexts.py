"""What cells set in their context holds in the next cell; what is set outside reaches them."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context

from rankbook.engine.cells.contexts import Variables

level = ContextVar("level", default=0)
parent = ContextVar("parent", default="")


def request(variables, step, name=""):
    """Run a step as a request does: in a context of its own, in which ``parent`` is set."""

    def run():
        parent.set(name)
        return variables.now().run(step)

    return copy_context().run(run)


def test_a_later_cell_resets_what_an_earlier_one_has_set():
    variables = Variables()
    token = request(variables, lambda: level.set(1))
    assert request(variables, level.get) == 1
    request(variables, lambda: level.reset(token))
    assert request(variables, level.get) == level.get() == 0


def test_what_is_set_outside_is_followed_and_what_cells_set_stays():
    variables = Variables()
    assert request(variables, parent.get, "first") == "first"
    request(variables, lambda: level.set(2), "second")
    assert request(variables, lambda: (parent.get(), level.get()), "third") == ("third", 2)
    request(variables, lambda: parent.set("own"), "third")
    assert request(variables, parent.get, "third") == "own"
    assert request(variables, parent.get, "fourth") == "fourth"


def test_cells_that_await_share_it_with_those_that_do_not():
    variables = Variables()

    async def cell():
        level.set(level.get() + 1)
        await asyncio.sleep(0)
        level.set(level.get() + 1)
        return parent.get()

    async def requests():
        for name in "ab":
            parent.set(name)
            assert await variables.start(cell()) == name
        return variables.now().run(level.get), level.get()

    assert asyncio.run(requests()) == (4, 0)
