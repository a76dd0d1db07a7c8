from __future__ import annotations

import re
from dataclasses import replace

import pytest
from looks import (
    HANDLE,
    IDLE,
    KILLED,
    RAISED,
    REDUCE,
    SILENT,
    call,
    done,
    judged,
    p2p,
    pair,
    receives,
    runs,
    sends,
    waits,
)
from verdicts import CASES

from rankbook.diagnosis import diagnose
from rankbook.models import Look
from rankbook.models.calls import Making


@pytest.mark.parametrize("name", CASES)
def test_looks_give_the_expected_verdict(name):
    case = CASES[name]
    found = judged(case.looks)
    assert (found.kind, found.ranks, found.stuck, found.proven) == (
        case.kind,
        case.ranks,
        case.stuck,
        case.proven,
    )
    if case.summary is not None:
        assert found.summary == case.summary


@pytest.mark.parametrize("name", CASES)
def test_every_verdict_is_a_sentence_and_every_rank_has_its_phrase(name):
    case = CASES[name]
    found = judged(case.looks)
    assert re.fullmatch(r"[A-Z].*\.", found.summary)
    assert not re.search(r"  |None|\s[.,;:]", found.summary)
    assert list(found.per_rank) == list(range(len(case.looks)))
    assert all(phrase and "\n" not in phrase for phrase in found.per_rank.values())


@pytest.mark.parametrize(
    ("look", "phrase"),
    [
        (
            waits(call(sizes=((2, 3),), since=2.14)),
            "waits in all_reduce #5 of 2x3 float32 for 2.1 s (line 3: dist.all_reduce(x))",
        ),
        (waits(pair(0, 1), ""), "waits in all_reduce #2 of 4 float32 of ranks 0-1 for 12 s"),
        (
            waits(call("gloo:broadcast", sizes=((),), peer=1, since=9.96), ""),
            "waits in broadcast #5 from 1 of a float32 scalar for 10 s",
        ),
        (
            waits(call("_allgather_base", sizes=(), since=0.01), ""),
            "waits in all_gather_into_tensor #5 of float32",
        ),
        (
            waits(call("all_to_all", sizes=((1,), (2,)), dtypes=("int64",) * 2, since=0), ""),
            "waits in all_to_all #5 of 2 tensors",
        ),
        (waits(call("barrier", dtypes=(), since=0.06), ""), "waits in barrier #5 for 0.1 s"),
        (receives(1), "waits in recv from 1 for 2.0 s (line 2: dist.recv(x))"),
        (receives(None, ""), "waits in recv from any rank for 2.0 s"),
        (sends(1, ""), "waits in send to 1 for 2.0 s"),
        (waits(HANDLE, "line 5: h()"), "waits in a handle's wait() for 3.0 s (line 5: h())"),
        (Look("waiting"), "waits in a handle's wait()"),
        (runs("line 4: f()"), "runs line 4: f()"),
        (runs("initialize"), "runs (initialize)"),
        (runs(""), "runs"),
        (runs("line 4: " + "x" * 200), "runs line 4: " + "x" * 90 + " …"),
        (IDLE, "idle: it runs no cell"),
        (RAISED, "raised ValueError: no such file"),
        (KILLED, "was killed by SIGKILL"),
        (Look("gone"), "has ended"),
        (SILENT, "does not answer"),
    ],
)  # fmt: skip
def test_a_rank_is_described_in_a_phrase(look, phrase):
    assert judged([look, IDLE, IDLE]).per_rank[0] == phrase


def test_a_group_of_all_ranks_needs_no_name():
    its = replace(REDUCE, group="7", ranks=(0, 1))
    assert "of ranks" not in judged([waits(its), IDLE]).summary


def ends(send_tag, recv_tag, number=1):
    """A rank that sends to the other, which receives from it."""
    return {
        0: waits(p2p("send", 1, tag=send_tag, seq=number), "line 2: dist.send(x, 1)"),
        1: waits(p2p("recv", 0, tag=recv_tag, seq=number), "line 4: dist.recv(x, 0)"),
    }


def test_a_send_and_a_recv_with_other_tags_are_a_mismatch():
    verdict = diagnose(ends(1, 2))
    assert (verdict.kind, verdict.ranks, verdict.proven) == ("mismatch", (0, 1), True)
    assert verdict.summary == (
        "Rank 0 sends to 1 with tag 1 (line 2: dist.send(x, 1)), "
        "where rank 1 receives from 0 with tag 2 (line 4: dist.recv(x, 0))."
    )


def test_a_send_and_a_recv_with_the_same_tag_are_on_their_way():
    assert not diagnose(ends(3, 3)).stuck


def test_a_recv_whose_send_has_been_issued_is_on_its_way_whatever_the_sender_does_now():
    """It has called isend, and waits for others now."""
    sent = p2p("send", 1, tag=0, seq=4)
    looks = {
        0: waits(REDUCE, recent=(sent,)),
        1: waits(p2p("recv", 0, tag=0, seq=4), "line 4: dist.recv(x, 0)"),
    }
    assert not diagnose(looks).stuck


def test_a_recv_of_a_later_number_than_was_sent_waits_for_its_sender():
    sent = p2p("send", 1, tag=0, seq=4)
    looks = {
        0: waits(REDUCE, recent=(done(sent),)),
        1: waits(p2p("recv", 0, tag=0, seq=5), "line 4: dist.recv(x, 0)"),
    }
    verdict = diagnose(looks)
    assert verdict.stuck == (0, 1)
    assert (verdict.kind, verdict.ranks) == ("mismatch", (0, 1))


@pytest.mark.parametrize(("quiet", "proven"), [(2.0, True), (0.5, False)])
def test_a_collective_in_a_thread_is_proven_stuck_when_no_thread_computes(quiet, proven):
    look = replace(waits(quiet=quiet, line="line 4: thread.join()"), in_thread=True)
    verdict = diagnose({0: look, 1: IDLE})
    assert (verdict.kind, verdict.ranks, verdict.proven) == ("missing_rank", (1,), proven)


def test_what_runs_in_a_file_is_said_with_its_line():
    line = "train.py:6 in step, called from line 3: step()"
    verdict = diagnose({0: waits(), 1: runs(line)})
    assert verdict.per_rank[1] == f"runs {line}"
    assert f"Rank 1 still runs ({line})" in verdict.summary


# -- an exception that has not ended the cell ------------------------------------------------

BARRIER = replace(waits(call("barrier", 5), "In [4] line 6: dist.barrier()"), recent=())
FIRST = {"handles": "ValueError: no data", "raised_at": "In [4] line 3: f()"}


def test_a_rank_that_raised_and_waits_is_the_cause():
    found = diagnose({0: waits(), 1: replace(BARRIER, **FIRST), 2: waits()})
    assert (found.kind, found.ranks, found.stuck) == ("raised", (1,), (0, 1, 2))
    assert found.summary == (
        "Rank 1 raised ValueError: no data (In [4] line 3: f()) and then waits in barrier #5 "
        "(In [4] line 6: dist.barrier()); ranks 0,2 wait in all_reduce #5 "
        "(line 3: dist.all_reduce(x))."
    )
    assert found.per_rank[1].startswith(
        "raised ValueError: no data (In [4] line 3: f()), then waits in barrier #5"
    )


def test_a_rank_that_raised_and_waits_for_ranks_that_have_ended_is_the_cause():
    ended = replace(IDLE, line="its cell has ended")
    found = diagnose({0: ended, 1: replace(BARRIER, **FIRST), 2: ended})
    assert (found.kind, found.ranks) == ("raised", (1,))
    assert found.summary.endswith("which ranks 0,2 never called: their cells have ended.")


def test_of_a_script_a_verdict_says_that_it_is_one():
    ended = replace(IDLE, line="its cell has ended", is_script=True)
    found = diagnose({0: BARRIER, 1: ended})
    assert found.summary.endswith(": its script has ended.")
    assert found.per_rank[1] == "idle: its script has ended"


@pytest.mark.parametrize("line", ["train.py:9 in end: dist.destroy_process_group()", ""])
def test_a_script_that_does_not_come_to_its_end_has_destroyed_the_group(line):
    gone = replace(
        Making("0", (0, 1), done=True), destroyed="train.py:9 in end: dist.destroy_process_group()"
    )
    ends = replace(runs(line), is_script=True, groups=(gone,))
    seen = [diagnose({0: BARRIER, 1: replace(ends, still=still)}) for still in (0.5, 3.0)]
    assert [(found.kind, found.proven) for found in seen] == [
        ("slow", False),
        ("missing_rank", True),
    ]
    assert seen[1].summary.startswith(
        "Rank 1 has destroyed the process group (train.py:9 in end: dist.destroy_process_group()), "
    )


def test_what_all_ranks_handle_does_not_set_them_apart():
    looks = {rank: replace(waits(), **FIRST) for rank in range(2)}
    looks[0] = replace(looks[0], waiting=call("barrier", 5), recent=())
    found = diagnose(looks)
    assert (found.kind, found.ranks) == ("mismatch", (0, 1))
    assert found.summary.startswith("Ranks 0-1 call different collectives as #5: rank 0 barrier")
