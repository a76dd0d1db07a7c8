"""What holds of all verdicts, whatever the looks."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest
from looks import (
    HANDLE,
    IDLE,
    KILLED,
    RAISED,
    REDUCE,
    SILENT,
    UNRECORDED,
    call,
    idle,
    judged,
    p2p,
    pair,
    runs,
    waits,
)
from verdicts import CASES

from rankbook.diagnosis import diagnose


def renamed_call(its, new):
    return replace(
        its,
        ranks=tuple(sorted(new.get(rank, rank) for rank in its.ranks)),
        peer=None if its.peer is None else new[its.peer],
    )


def renamed(look, new):
    return replace(
        look,
        waiting=look.waiting and renamed_call(look.waiting, new),
        recent=tuple(renamed_call(its, new) for its in look.recent),
    )


BY_NUMBER = {"two subgroups, each lacks one", "roots of which one is not known"}
"""Where the lowest rank decides, which is another one under other numbers."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in BY_NUMBER])
def test_other_numbers_of_ranks_give_the_same_verdict(name):
    looks = CASES[name].looks
    before = judged(looks)
    for order in itertools.islice(itertools.permutations(range(len(looks))), 1, 30):
        new = dict(enumerate(order))
        after = diagnose({new[rank]: renamed(look, new) for rank, look in enumerate(looks)})
        assert (after.kind, after.proven) == (before.kind, before.proven)
        assert after.ranks == tuple(sorted(new[rank] for rank in before.ranks))
        assert after.stuck == tuple(sorted(new[rank] for rank in before.stuck))


def test_the_order_in_which_looks_come_does_not_matter():
    for case in CASES.values():
        looks = dict(enumerate(case.looks))
        assert diagnose(dict(reversed(looks.items()))) == diagnose(looks)


@pytest.mark.parametrize(
    "its",
    [
        REDUCE,
        UNRECORDED,
        HANDLE,
        call("monitored_barrier", None),
        p2p("recv", 3),
        p2p("send", 3),
        p2p("recv", None),
    ],
    ids=lambda its: f"{its.op} {its.seq} {its.peer}",
)
def test_a_running_rank_that_all_need_leaves_no_rank_stuck(its):
    found = judged([waits(its, still=1e6, quiet=1e6, silent=1e6)] * 3 + [runs()])
    assert (found.kind, found.ranks, found.stuck, found.proven) == ("slow", (3,), (), False)


@pytest.mark.parametrize("state", ["running", "no answer"])
@pytest.mark.parametrize("name", CASES)
def test_a_rank_that_may_go_on_leaves_no_rank_stuck(name, state):
    looks = CASES[name].looks
    stuck = set(judged(looks).stuck)
    for rank, look in enumerate(looks):
        moving = replace(look, state=state, waiting=None)
        assert stuck.issuperset(judged([*looks[:rank], moving, *looks[rank + 1 :]]).stuck)


def any_look(random, size):
    ranks = tuple(sorted(random.sample(range(size), 2)))
    calls = [
        call(random.choice(["all_reduce", "barrier"]), random.choice([4, 5, None]), since=1.0),
        pair(*ranks, seq=random.choice([2, None])),
        p2p(random.choice(["send", "recv"]), random.choice(range(size))),
        p2p("recv", None),
        HANDLE,
    ]
    recent = tuple(call(seq=seq) for seq in range(3, random.choice([3, 4, 5, 6])))
    waiting = waits(random.choice(calls), recent=recent)
    others = [runs(recent=recent), idle(*recent), RAISED, SILENT, KILLED]
    return random.choices([waiting, *others], [60, 4, 10, 2, 1, 1])[0]


@pytest.mark.parametrize("seed", range(200))
def test_every_random_world_gets_a_consistent_verdict(seed):
    random = Random(seed)
    size = random.choice([2, 3, 4])
    looks = [any_look(random, size) for _ in range(size)]
    found = judged(looks)
    assert re.fullmatch(r"[A-Z].*\.", found.summary)
    assert all(looks[rank].state == "waiting" for rank in found.stuck)
    assert not found.stuck or found.kind in {
        "dead",
        "mismatch",
        "raised",
        "missing_rank",
        "unknown",
    }
    new = dict(enumerate(random.sample(range(size), size)))
    after = diagnose({new[rank]: renamed(look, new) for rank, look in enumerate(looks)})
    assert (after.kind, after.proven) == (found.kind, found.proven)
    assert after.stuck == tuple(sorted(new[rank] for rank in found.stuck))


def within(look, ranks):
    """The same look, where calls of the world's group say which ranks that has."""

    def told(its):
        return its if its.ranks else replace(its, group="5ffe", ranks=ranks)

    return replace(
        look, waiting=look.waiting and told(look.waiting), recent=tuple(map(told, look.recent))
    )


def concerns_known_ranks(look):
    return look.state != "waiting" or (look.waiting and look.waiting.op in KNOWN_OPS)


KNOWN_OPS = {"all_reduce", "barrier", "broadcast", "gather", "monitored_barrier", "recv", "send"}
SURE = [n for n, case in CASES.items() if case.looks and all(map(concerns_known_ranks, case.looks))]


@pytest.mark.parametrize(
    "more", [IDLE, waits(pair(90, 91))], ids=["idle", "in a collective of their own"]
)
@pytest.mark.parametrize("name", SURE)
def test_a_healthy_subgroup_does_not_change_the_verdict(name, more):
    ranks = tuple(range(len(CASES[name].looks)))
    looks = {rank: within(look, ranks) for rank, look in enumerate(CASES[name].looks)}
    before, after = diagnose(looks), diagnose({**looks, 90: more, 91: more})
    assert (after.ranks, after.stuck, after.proven) == (before.ranks, before.stuck, before.proven)
    if before.kind not in {"idle", "running"}:
        assert after.kind == before.kind
        assert after.summary.replace(f" of ranks 0-{ranks[-1]}", "") == before.summary


@pytest.mark.parametrize("name", CASES)
def test_a_wait_seen_for_a_moment_only_proves_nothing(name):
    found = judged([replace(look, still=0.05, in_wait=0.0) for look in CASES[name].looks])
    assert not found.proven
    assert (found.kind, found.stuck) == (CASES[name].kind, CASES[name].stuck)


@pytest.mark.parametrize("name", CASES)
def test_only_ranks_that_wait_are_stuck_and_only_stuck_ones_prove_anything(name):
    case = CASES[name]
    found = judged(case.looks)
    assert all(case.looks[rank].state == "waiting" for rank in found.stuck)
    assert found.stuck or not found.proven
    if found.kind in {"idle", "running", "slow"}:
        assert not found.stuck


def test_a_verdict_on_very_many_ranks_takes_little_time():
    recent = tuple(call(seq=seq, group=str(group)) for group in range(4) for seq in range(32))
    looks = [waits(call(seq=40), recent=recent)] * 255 + [IDLE]
    found = judged(looks)
    assert found.ranks == (255,)
    assert len(found.stuck) == 255


def test_the_diagnosis_imports_no_torch():
    code = (
        "import sys, rankbook.diagnosis, rankbook.display.verdict\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
