"""Calls of ranks as dumps of torch's flight recorder; torch's own analyser reads them here."""

from __future__ import annotations

import gc
import inspect
import logging
import pickle
from dataclasses import replace
from importlib import import_module

import pytest

from rankbook.models import Collective, GroupInfo, Look
from rankbook.trace import flight

builder = pytest.importorskip("torch.distributed.flight_recorder.components.builder")
fr_trace = pytest.importorskip("torch.distributed.flight_recorder.fr_trace")

# The names of operations that it knows; before torch 2.12 or so it knew those of NCCL alone.
types = import_module("torch.distributed.flight_recorder.components.types")
pytestmark = pytest.mark.skipif(
    "gloo" not in inspect.getsource(types), reason="this torch analyses calls of NCCL alone"
)

INFO = GroupInfo("gloo", 0, 4, "cpu", is_main=True)


def call(op, seq, *, size=(2,), done=True, **facts):
    return Collective(op, "0", seq=seq, sizes=(size,), dtypes=("float32",), done=done, **facts)


def look(*calls, state="idle", **facts):
    return Look(state, info=INFO, recent=calls, **facts)


@pytest.fixture(autouse=True)
def collecting():
    """torch's loader of dumps turns the garbage collector off, and leaves it so."""
    yield
    gc.enable()


@pytest.fixture
def analysed(tmp_path):
    """What the analyser says of looks."""
    said = []

    class Kept(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    def analyse(looks, *options):
        for rank, dump in flight.dumps(looks, now=1000.0).items():
            (tmp_path / f"{flight.PREFIX}{rank}").write_bytes(pickle.dumps(dump))
        logger, handler = builder.logger.logger, Kept()
        logger.addHandler(handler)
        try:
            fr_trace.main([str(tmp_path), *options])
        finally:
            logger.removeHandler(handler)
        return "\n".join(said)

    return analyse


def test_the_rank_that_is_missing_is_named_with_the_line_of_the_others(analysed):
    before = [call("all_reduce", n) for n in (1, 2)]
    waits = call("all_reduce", 3, done=False, line="train.py:6 in step")
    said = analysed({r: look(*before, *([] if r == 2 else [waits])) for r in range(4)})
    assert "Not all ranks joining collective, sequence number: 3" in said
    assert "missing ranks: {2}" in said
    assert "step at train.py:6" in said


def test_a_clash_names_the_rank_that_called_something_else(analysed):
    others = look(call("all_reduce", 1, done=False))
    said = analysed({0: look(call("broadcast", 1, done=False)), 1: others, 2: others, 3: others})
    assert "COLLECTIVE_TYPE_MISMATCH" in said
    assert "Culprit rank 0" in said


def test_other_sizes_are_seen(analysed):
    others = look(call("all_reduce", 1, done=False))
    odd = look(call("all_reduce", 1, size=(3,), done=False))
    assert "SIZE_OR_SYNTAX_MISMATCH" in analysed({0: others, 1: odd, 2: others, 3: others})


def every_call():
    kinds = (
        *("all_reduce", "broadcast", "reduce", "all_gather", "all_gather_into_tensor", "gather"),
        *("all_gather_coalesced", "all_reduce_coalesced", "all_to_all_single", "scatter"),
    )
    calls = [call(op, n) for n, op in enumerate(kinds, 1)]
    calls.append(call("reduce_scatter_tensor", len(calls) + 1, size=(8,)))
    several = replace(call("reduce_scatter", len(calls) + 1), sizes=((2,),) * 4)
    barrier = replace(call("barrier", len(calls) + 2), sizes=(), dtypes=())
    return [*calls, several, barrier]


def test_the_analyser_reports_nothing_of_calls_that_all_ranks_have_made(analysed):
    assert analysed({rank: look(*every_call()) for rank in range(4)}) == ""


def test_ranks_that_keep_more_calls_than_others_are_compared_from_where_all_know(analysed):
    calls = [call("all_reduce", n) for n in range(1, 9)]
    assert analysed({rank: look(*calls[rank:]) for rank in range(4)}) == ""


def test_subgroups_are_distinguished_and_sends_meet_their_recvs(analysed):
    group = {"group": "1", "ranks": (1, 3)}
    inside = replace(call("all_reduce", 1, done=False), **group)
    send = replace(call("send", 1, peer=3), **group)
    recv = replace(call("recv", 1, peer=1), **group)
    looks = {0: look(), 1: look(send, inside), 2: look(), 3: look(recv)}
    dumps = flight.dumps(looks, 1000.0)
    assert dumps[1]["entries"][0]["profiling_name"] == "gloo:send 0->1"
    assert dumps[3]["entries"][0]["profiling_name"] == "gloo:recv 1<-0"
    assert set(dumps[0]["pg_config"]) == {"0"}
    assert set(dumps[3]["pg_config"]) == {"0", "1"}
    assert "missing ranks: {3}" in analysed(looks)


def test_a_rank_that_has_ended_has_no_dump(analysed):
    others = look(call("all_reduce", 1, done=False))
    looks = {0: others, 1: Look("gone"), 2: others, 3: Look("no answer")}
    assert set(flight.dumps(looks, 1000.0)) == {0, 2}
    assert "missed FR dumps from ranks ({1, 3})" in analysed(looks, "--allow-incomplete-ranks")


def test_what_the_analyser_does_not_know_is_left_out(analysed):
    looks = {rank: look(call("of_tomorrow", 1), call("barrier", 2)) for rank in range(4)}
    assert [e["profiling_name"] for e in flight.dumps(looks, 1.0)[0]["entries"]] == ["gloo:barrier"]
    assert analysed(looks) == ""


@pytest.mark.parametrize(
    ("line", "frames"),
    [
        ("train.py:6 in step", [{"name": "step", "filename": "train.py", "line": 6}]),
        ("In [4] line 3: f(x)", [{"name": "", "filename": "In [4]", "line": 3}]),
        (
            "train.py:6 in step, called from In [4] line 2",
            [{"name": "step", "filename": "train.py", "line": 6}],
        ),
        ("", []),
    ],
)
def test_a_line_is_a_frame(line, frames):
    looks = {0: look(call("all_reduce", 1, line=line))}
    assert flight.dumps(looks, 1.0)[0]["entries"][0]["frames"] == frames
