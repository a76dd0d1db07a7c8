"""Values that are brought from ranks, and sent to them."""

from __future__ import annotations

import threading

import pytest

from rankbook.errors import InputError, SessionError


def test_pull_brings_the_values_of_the_ranks(formed):
    formed.run("x = [rank] * 2")
    assert formed.pull("x") == {r: [r, r] for r in range(4)}
    assert formed.pull("x", "1,3") == {1: [1, 1], 3: [3, 3]}


@pytest.mark.parametrize(
    ("where", "ranks", "said"),
    [
        ("rank == 0", "all", "'x' exists only on rank 0; use -r 0."),
        ("rank > 1", "all", "'x' exists only on ranks 2-3; use -r 2-3."),
        ("False", "all", "'x' exists on none of ranks 0-3."),
        ("rank == 0", "1", "'x' exists on none of rank 1."),
    ],
)
def test_pulling_a_missing_variable_names_the_ranks_that_have_it(formed, where, ranks, said):
    formed.run(f"if {where}: x = 1")
    with pytest.raises(InputError) as caught:
        formed.pull("x", ranks)
    assert str(caught.value) == said


def test_pulling_a_value_that_does_not_pickle_is_refused(formed):
    formed.run("import threading\nx = threading.Lock() if rank == 2 else 0")
    with pytest.raises(InputError, match=r"'x' \(lock\) cannot be sent"):
        formed.pull("x")


def test_push_sends_values_to_the_ranks(formed, pool):
    formed.push(lr=0.1, name="é")
    assert [pool[n].names["lr"] for n in pool.engines] == [0.1] * 4
    formed.push("1", lr=0.2)
    assert [pool[n].names["lr"] for n in pool.engines] == [0.1, 0.2, 0.1, 0.1]
    assert pool[3].names["name"] == "é"


def test_push_accepts_variables_named_ranks_and_self(formed, pool):
    formed.push("0", ranks=[1], self=2)
    assert pool[0].names["ranks"] == [1]
    assert pool[0].names["self"] == 2


def test_pushing_a_value_that_does_not_pickle_sends_nothing(formed, pool):
    with pytest.raises(InputError, match=r"'bad' \(lock\) cannot be sent"):
        formed.push(good=1, bad=threading.Lock())
    assert pool.asked("push") == []
    assert formed.doing == ""


@pytest.mark.parametrize("act", [lambda s: s.pull("x", "9"), lambda s: s.push("9", x=1)])
def test_pull_and_push_refuse_a_rank_outside_the_world(formed, act):
    with pytest.raises(InputError, match="There is no rank 9"):
        act(formed)


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.pull("x"),
        lambda s: s.push(x=1),
        lambda s: s.stacks(),
        lambda s: s.diagnose(),
        lambda s: s.restart_ranks([0]),
    ],
)
def test_a_session_without_a_group_refuses_what_needs_ranks(session, act):
    with pytest.raises(SessionError, match="There is no process group"):
        act(session)
