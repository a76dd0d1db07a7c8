"""The account of real processes: which calls two ranks of gloo are seen to make, each once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch.distributed as dist
from packaging.version import Version

from rankbook import calls, lastcalls

OF_OBJECTS = (
    "all_gather" if Version(version("torch")) < Version("2.15") else "all_gather_into_tensor"
)
"""What all_gather_object calls."""

FUNCTIONAL = [
    "reduce_scatter_tensor",
    "all_to_all_single",
    "broadcast",
    "all_to_all_single",
    "all_reduce_coalesced",
    "all_gather_into_tensor_coalesced",
    "reduce_scatter_tensor_coalesced",
    "all_gather_into_tensor",
    "reduce_scatter_tensor",  # in the backward
]

PROGRAMS = Path(__file__).parents[1] / "account_programs.py"


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks says of its account, after all programs."""
    directory = tmp_path_factory.mktemp("account")
    subprocess.run(
        [sys.executable, "-W", "ignore", str(PROGRAMS), str(directory)], check=True, timeout=100
    )
    return [json.loads((directory / f"{rank}.json").read_text()) for rank in range(2)]


def called(ranks, program, rank=0, *also):
    """What a rank called in a program: the operations, with some more of each if asked."""
    found = ranks[rank]["programs"][program]["calls"]
    return (
        [tuple(call[name] for name in ("op", *also)) for call in found]
        if also
        else [call["op"] for call in found]
    )


def test_eager_collectives_are_counted_once_with_root_and_reduce_operation(ranks):
    for rank in range(2):
        assert called(ranks, "eager", rank, "reduce_op", "root") == [
            ("all_reduce", "max", None),
            ("broadcast", "", 1),
            ("all_gather", "", None),
            ("all_gather_into_tensor", "", None),
            ("reduce_scatter_tensor", "sum", None),
            ("reduce", "product", 1),
            ("gather", "", 0),
            ("scatter", "", 1),
            ("all_to_all_single", "", None),
            ("barrier", "", None),
        ]


def test_a_call_says_what_it_moves(ranks):
    first, second = ranks[0]["programs"]["eager"]["calls"][:2]
    assert (first["shapes"], first["dtypes"], first["nbytes"]) == ([[4]], ["float32"], 16)
    assert (second["shapes"], second["nbytes"]) == ([[3]], 12)


def test_collectives_are_numbered_alike_on_all_ranks(ranks):
    numbered = [
        [
            (call["group"], call["number"], call["op"])
            for program in said["programs"].values()
            for call in program["calls"]
            if call["op"] not in {"send", "recv"}
            and program is not said["programs"]["subgroup_of_one"]
        ]
        for said in ranks
    ]
    assert numbered[0] == numbered[1]
    assert [n for group, n, _ in numbered[0] if group == "0"][:3] == [1, 2, 3]


def test_the_users_line_and_the_function_that_it_calls_are_known(ranks):
    [call] = ranks[0]["programs"]["functional_in_inference_mode"]["calls"]
    line = next(
        number
        for number, text in enumerate(PROGRAMS.read_text().splitlines(), 1)
        if 'funcol.all_reduce(ones(), "max"' in text
    )
    assert call["said"] == f"account_programs.py:{line} in functional_in_inference_mode"
    assert call["function"] == "all_reduce"


@pytest.mark.parametrize("name", ["handles", "objects", "functional", "subgroup", "ddp", "fsdp2"])
def test_all_calls_of_a_program_come_from_lines_of_it(ranks, name):
    calls = ranks[0]["programs"][name]["calls"]
    assert calls
    for call in calls:
        assert call["said"].startswith("account_programs.py:")
        assert call["said"].endswith(f" in {name}")


@pytest.mark.skipif(not hasattr(dist.ProcessGroup, "register_pre_hook"), reason="torch >= 2.14")
def test_torchs_own_hooks_tell_of_as_many_calls_as_the_account(ranks):
    for said in ranks:
        for name, program in said["programs"].items():
            issued = [op for op in program["issued"] if op != "monitored_barrier"]
            assert program["heard"] == len(issued), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("handles", ["all_reduce", "broadcast", "all_reduce"]),
        ("objects", [OF_OBJECTS, OF_OBJECTS, "broadcast", "broadcast"]),
        ("functional", ["all_reduce", "all_gather_into_tensor"]),
        ("functional_in_inference_mode", ["all_reduce"]),
        ("functional_of_every_kind", FUNCTIONAL),
        ("lists", ["reduce_scatter", "all_reduce_coalesced", "all_gather_coalesced"]),
        (
            "sharded_tensors",
            ["scatter", "all_gather_into_tensor", "all_reduce", "reduce_scatter_tensor"],
        ),
        ("coalesced_asynchronously", ["all_gather_into_tensor_coalesced"]),
        ("compiled", ["all_reduce"]),
        ("fake", []),
        ("barriers", ["barrier", "monitored_barrier"]),
        ("subgroup", ["all_reduce", "broadcast"]),
        ("subgroup_of_one", ["broadcast"]),
        ("thread", ["all_reduce"]),
        ("first_in_its_thread", ["all_reduce"]),
        ("old_forms", ["all_reduce", "broadcast", "reduce", "all_reduce"]),
        ("of_a_persons_hook", ["all_reduce"]),
        ("after_a_second_install", ["all_reduce"]),
        ("on_a_destroyed_group", ["all_reduce"]),
        ("of_a_work_of_their_own", ["all_reduce"]),
        ("in_a_forked_child", ["all_reduce"]),
        ("ddp", ["all_reduce", "broadcast", "broadcast", "all_reduce"]),
        ("fsdp2", ["all_gather_into_tensor", "reduce_scatter_tensor"]),
    ],
)
def test_each_call_of_a_program_is_counted_once(ranks, name, expected):
    # In its second forward DDP tells the other ranks how it has sorted the gradients.
    assert called(ranks, name, 0) == called(ranks, name, 1) == expected


def test_coalesced_collectives_are_one_call_of_all_their_tensors(ranks):
    [call] = ranks[0]["programs"]["coalesced"]["calls"]
    assert (call["op"], call["shapes"], call["nbytes"]) == ("all_reduce_coalesced", [[2], [3]], 20)


def test_a_collective_in_backward_is_marked_as_such(ranks):
    assert called(ranks, "ddp", 0, "function")[0] == ("all_reduce", "backward")
    assert called(ranks, "fsdp2", 0, "function")[1] == ("reduce_scatter_tensor", "backward")


def test_sends_and_receives_have_peer_and_tag(ranks):
    more = ("peer", "tag", "number", "function")
    assert called(ranks, "send_and_recv", 0, *more) == [
        ("send", 1, 7, 1, "send"),
        ("recv", 1, 8, 1, "recv"),
    ]
    assert called(ranks, "send_and_recv", 1, *more) == [
        ("recv", 0, 7, 1, "recv"),
        ("send", 0, 8, 1, "send"),
    ]
    assert called(ranks, "recv_from_anybody", 1, *more) == [("recv", None, 3, 1, "recv")]
    assert called(ranks, "isend_and_irecv", 0, *more) == [
        ("send", 1, 5, 1, "isend"),
        ("recv", 1, 5, 1, "irecv"),
    ]
    assert called(ranks, "batch", 1, *more) == [
        ("send", 0, 1, 1, "batch_isend_irecv"),
        ("recv", 0, 1, 1, "batch_isend_irecv"),
    ]


def test_a_call_that_was_waited_for_is_completed(ranks):
    for name in ("eager", "handles", "batch", "functional", "barriers", "thread", "fsdp2", "ddp"):
        calls = ranks[0]["programs"][name]["calls"]
        assert calls, name
        for call in calls:
            assert call["issued"] <= call["returned"] <= call["completed"], (name, call)
            assert not call["failed"]


def test_a_thread_is_told_from_the_main_one(ranks):
    [call] = ranks[0]["programs"]["thread"]["calls"]
    [other] = ranks[0]["programs"]["after_a_second_install"]["calls"]
    assert call["thread"] != other["thread"]


def test_a_cell_has_its_traffic(ranks):
    program = ranks[0]["programs"]["handles"]
    assert program["traffic"]["calls"] == 3
    assert program["traffic"]["nbytes"] == 48
    assert {call["cell"] for call in program["calls"]} == {1}


def test_while_it_blocks_a_thread_is_known_to_wait_and_for_what(ranks):
    expected = {
        "work": ("work", "all_reduce"),
        "future": ("future", "all_reduce"),
        "tensor": ("tensor", "all_reduce"),
        "recv": ("work", "recv"),
        "issue": ("issue", "monitored_barrier"),
        "store": ("store", None),
    }
    for name, waits in ranks[0]["waits"].items():
        seen = {(kind, call and call[0]) for kind, call in waits}
        assert expected[name] in seen, name
        # A busy machine shows the call being issued, too, and a second wait for what is there.
        kind, op = expected[name]
        assert seen <= {expected[name], ("issue", op), (kind, None)}, name


def test_ranks_that_called_alike_have_the_same_fingerprints(ranks):
    first, second = (
        {one["group"]: one for one in said["fingerprints"] if one["group"] in {"0", "1"}}
        for said in ranks
    )
    assert first == second
    assert first["0"]["count"] > 10


DYING = """
import ctypes, os, pathlib, signal, sys, torch, torch.distributed as dist
from rankbook import calls
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
calls.install(calls.Ledger(file=pathlib.Path(sys.argv[1])))
def step():
    dist.broadcast(torch.ones(5), src=0)
    return dist.all_reduce(torch.ones(3, dtype=torch.float64), dist.ReduceOp.MAX, async_op=True)
handle = step()
"""


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("SIGKILL", "os.kill(os.getpid(), signal.SIGKILL)"),
        ("SIGABRT", "os.abort()"),
        ("SIGSEGV", "ctypes.string_at(0)"),
    ],
)
def test_the_last_calls_of_a_process_that_died_can_be_read(tmp_path, name, end):
    program, file = tmp_path / "train.py", tmp_path / "0.calls"
    program.write_text(DYING + end)
    done = subprocess.run([sys.executable, str(program), str(file)], check=False, timeout=60)
    assert done.returncode == -getattr(signal, name)
    last = lastcalls.read(file)
    assert [(call.op, call.number) for call in last.calls] == [("broadcast", 1), ("all_reduce", 2)]
    call = last.calls[-1]
    assert str(call.place) == "train.py:8 in step"
    assert (call.reduce_op, call.shapes, call.dtypes) == ("max", ((3,),), ("float64",))
    assert call.group == "0"


def test_without_an_account_torch_is_as_it_was():
    before = {name: vars(dist.ProcessGroup)[name] for name in ("allreduce", "send", "shutdown")}
    calls.install(calls.Ledger())
    assert vars(dist.ProcessGroup)["allreduce"] is not before["allreduce"]
    calls.remove()
    assert {name: vars(dist.ProcessGroup)[name] for name in before} == before
    assert calls.installed() is None
