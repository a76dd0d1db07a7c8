"""Healing where something is odd: groups that some have ended, ranks that differ, interrupts."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from objects import COMMON, OBJECTS, STEP, seen_after
from processes import wait_until

from rankbook.errors import SessionError

pytestmark = pytest.mark.usefixtures("eager", "nothing_of_before")


def hang(session):
    result = session.run("if rank: dist.barrier()")
    assert not result.ok
    return result.note


def test_a_group_that_some_members_have_ended_does_not_go_on_and_the_others_do(four):
    four.run("pairs, _ = dist.new_subgroups(2); evens = dist.new_group([0, 2])").raise_for_error()
    four.run("if rank == 1: dist.destroy_process_group(pairs)").raise_for_error()
    note = hang(four)
    assert note.endswith(
        "; subgroups made before go on. Some subgroups made before have ended; each says so when "
        "it is used."
    )
    four.run("if rank % 2 == 0: dist.barrier(evens)\nif rank > 1: dist.barrier(pairs)")
    result = four.run("dist.barrier(pairs)", ranks=0)
    assert result[0].error.ename == "StaleGroupError"
    assert result[0].error.evalue.endswith("make it again, dist.new_group(...)")


def test_a_subgroup_whose_member_died_ends_its_users_and_goes_on_when_it_was_replaced(four):
    four.run("low, high = dist.new_group([0, 1]), dist.new_group([2, 3])").raise_for_error()
    four.run("import os; pid = os.getpid()")
    os.kill(four.pull("pid")[3], signal.SIGKILL)
    wait_until(lambda: four.dead_ranks)
    result = four.run("if rank == 2: dist.barrier(high)", ranks="0-2")
    assert not result.ok
    assert result.diagnosis.kind == "dead"
    assert "%dist_restart 3" in result.note
    four.restart_ranks(from_rank=2)
    four.run("dist.barrier(low if rank < 2 else high)").raise_for_error()


def test_groups_that_a_cell_has_made_by_hand_go_on(four):
    four.run(
        "dist.destroy_process_group()\n"
        "dist.init_process_group('gloo')\n"
        "group = dist.new_group([1, 2])\n"
        f"{COMMON}{OBJECTS['DDP']}\n{STEP.format(0)}"
    ).raise_for_error()
    assert "DDP modules and subgroups made before go on." in hang(four)
    four.run(STEP.format(1)).raise_for_error()
    four.run("if rank in (1, 2): dist.barrier(group)").raise_for_error()
    states = four.pull("seen")
    assert states[0] == states[1] == states[2] == states[3]


SLOW_TO_SEND = """
class Slow:
    def __reduce__(self):
        time.sleep(600)
"""
SLOW_TO_TAKE = """
class Slow:
    def __reduce__(self):
        return dist.barrier, ()
"""
"""On the new rank it waits for others in C++."""


@pytest.mark.parametrize("slow", [SLOW_TO_SEND, SLOW_TO_TAKE], ids=["sending", "taking"])
def test_ctrl_c_while_a_rank_is_filled_leaves_a_group_that_works(four, slow):
    four.run(f"{COMMON}{OBJECTS['DDP']}\n{STEP.format(0)}").raise_for_error()
    four.run(f"{slow}slow = Slow()").raise_for_error()
    before = seen_after(four, "seen = state()")
    four.run("import os; pid = os.getpid()")
    os.kill(four.pull("pid")[3], signal.SIGKILL)
    wait_until(lambda: four.dead_ranks)
    timer = threading.Timer(4, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        four.restart_ranks(from_rank=0)
    timer.join()
    four.run("dist.barrier()").raise_for_error()
    result = four.run("grads(1)", ranks="0-2")
    assert {result[rank].error.ename for rank in result} == {"StaleGroupError"}
    four.run("del slow", ranks="0-2").raise_for_error()
    four.restart_ranks([3], from_rank=0)
    after = seen_after(four, "seen = state()")
    assert [after[rank] for rank in range(3)] == [before[rank] for rank in range(3)]
    assert after[3] == before[0]
    four.run(STEP.format(1)).raise_for_error()


def kill(session, rank):
    session.run("import os; pid = os.getpid()")
    os.kill(session.pull("pid")[rank], signal.SIGKILL)
    wait_until(lambda: rank in session.dead_ranks)


DEADLY = """
def die(where):
    if rank == where:
        os.kill(os.getpid(), signal.SIGKILL)

class Deadly:
    def __init__(self, where):
        self.where = where
    def __reduce__(self):
        die(self.where)
        return die, (self.where,)
"""


def test_the_group_works_after_a_rank_died_while_another_was_filled_from_it(four):
    four.run(f"{COMMON}{OBJECTS['DDP']}{DEADLY}\n{STEP.format(0)}").raise_for_error()
    four.run("deadly = Deadly(0) if rank == 0 else None").raise_for_error()
    kill(four, 3)
    why = r"Rank 0 was killed by SIGKILL while rank 3 was being filled: %dist_restart 0,3 --from 1 "
    with pytest.raises(SessionError, match=why):
        four.restart_ranks(from_rank=0)
    # Rank 3 is forgotten.
    four.restart_ranks(from_rank=1)
    assert "DDP modules wait until rank 3 has them, too." in four.carried
    result = four.run("grads(1)")
    assert result[3].error.ename == "NameError"
    for rank in range(3):
        assert "rank 3 was replaced and has no such DDP module" in result[rank].error.evalue
    four.reset()
    four.restart_ranks([3], from_rank=1)
    states = seen_after(four, STEP.format(1))
    assert states[0] == states[1] == states[2] == states[3]


def test_a_rank_that_dies_while_it_is_filled_is_filled_again(four):
    four.run(f"{COMMON}{OBJECTS['DDP']}{DEADLY}\n{STEP.format(0)}").raise_for_error()
    four.run("deadly = Deadly(3)", ranks=0).raise_for_error()
    kill(four, 3)
    why = r"Rank 3 was killed by SIGKILL while it was being filled: %dist_restart 3 --from 0 rep"
    with pytest.raises(SessionError, match=why):
        four.restart_ranks(from_rank=0)
    four.run("del deadly", ranks=0).raise_for_error()
    four.restart_ranks(from_rank=0)
    states = seen_after(four, STEP.format(1))
    assert states[0] == states[1] == states[2] == states[3]


def test_two_deaths_in_a_row_are_two_replacements(four):
    four.run(f"{COMMON}{OBJECTS['DDP']}\n{STEP.format(0)}").raise_for_error()
    for victim in (2, 0):
        four.run("import os; pid = os.getpid()").raise_for_error()
        os.kill(four.pull("pid")[victim], signal.SIGKILL)
        wait_until(lambda: four.dead_ranks)
        four.restart_ranks(from_rank=1)
    states = seen_after(four, STEP.format(1))
    assert states[0] == states[1] == states[2] == states[3]
