"""The table of ``group/repair.py``: what is done in every condition, whatever happens."""

from __future__ import annotations

import contextlib

import pytest
from processes import wait_until
from steps import SOON, end_of

from rankbook.errors import EngineError, RankbookError, SessionError
from rankbook.sessions.group.repair import RULE, Condition, Event, Step

CELLS = [(event, condition) for event, row in RULE.items() for condition in row]


@pytest.fixture
def bring_about(formed, repair, pool, calls):
    """Brings about a condition of the process group, as it comes about for users."""
    with contextlib.ExitStack() as afterwards:

        def none():
            formed.destroy()

        def attempt():
            with contextlib.suppress(RankbookError):  # it is ended at last
                formed.initialize()

        def making():
            pool[3].answers = False
            thread = formed.in_background(attempt)
            wait_until(lambda: all(pool[number].stuck for number in range(3)), SOON)

            def end():
                if not formed.is_closed:
                    pool.kill(3)  # the ranks that wait for it need not wait any longer
                end_of(thread)

            afterwards.callback(end)

        def broken():
            calls("wait_in('all_reduce', seq=1)", 0)
            assert repair.free([0]).cut

        def awaited():
            broken()
            afterwards.enter_context(repair.renewing())

        def lost():
            pool.kill(1)

        def owed():
            broken()
            pool[2].refuses = EngineError("no memory.")
            repair.after(Event.CELL_ENDS)
            pool[2].refuses = None

        yield {
            Condition.NONE: none,
            Condition.MAKING: making,
            Condition.WHOLE: lambda: None,
            Condition.BROKEN: broken,
            Condition.AWAITED: awaited,
            Condition.LOST: lost,
            Condition.OWED: owed,
        }


def refused(act):
    """Whether a session refuses something, in one line."""
    try:
        act()
    except SessionError as error:
        return "\n" not in str(error)
    return False


def observed(event, formed, repair, pool):
    """What is done when something happens, seen from outside."""
    generation, was_cut = formed.generation, repair.is_cut
    acts = {
        Event.CELL_BEGINS: repair.begin_cell,
        Event.FREED_WITH_CUT: repair.mark_broken,
        Event.RENEWAL_ASKED: formed.initialize,
        Event.RANK_DIES: lambda: pool.kill(2),
        Event.SHUTDOWN: formed.shutdown,
    }
    said = []
    act = acts.get(event, lambda: said.append(repair.after(event)))
    if refused(act):
        assert formed.generation == generation
        return Step.REFUSE
    if formed.generation > generation:
        assert formed.world_size == 4
        return Step.MAKE
    if said and "free" in said[0]:
        return Step.LEAVE
    return Step.BREAK if repair.is_cut and not was_cut else Step.NOTHING


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_of_the_group_is_recognised(bring_about, repair, condition):
    bring_about[condition]()
    assert repair.condition is condition


@pytest.mark.parametrize(
    ("event", "condition"), CELLS, ids=[f"{e.value}, {c.value}" for e, c in CELLS]
)
def test_the_rule_is_followed(bring_about, formed, repair, pool, event, condition):
    bring_about[condition]()
    assert observed(event, formed, repair, pool) is RULE[event][condition]


@pytest.mark.parametrize("condition", [Condition.WHOLE, Condition.BROKEN, Condition.AWAITED])
def test_a_rank_that_dies_makes_the_group_lost(bring_about, repair, pool, condition):
    bring_about[condition]()
    pool.kill(2)
    assert repair.condition is Condition.LOST


def test_a_lost_group_is_renewed_by_replacing_its_dead_rank(bring_about, formed, repair):
    bring_about[Condition.LOST]()
    formed.restart_ranks()
    assert repair.condition is Condition.WHOLE
    assert formed.generation == 2
