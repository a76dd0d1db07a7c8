"""No rank is to blame: all are idle, run, or wait for what is on its way."""

from __future__ import annotations

from looks import (
    IDLE,
    NEW_GROUP,
    RAISED,
    REDUCE,
    UNRECORDED,
    call,
    done,
    idle,
    p2p,
    pair,
    receives,
    runs,
    sends,
    waits,
)

from verdicts.case import Case

CASES = {
    "all idle": Case([IDLE] * 3, "idle", summary="Every rank is idle."),
    "one rank, idle": Case([IDLE], "idle", summary="Every rank is idle."),
    "no ranks at all": Case([], "idle"),
    "idle after an exception": Case([RAISED, IDLE], "idle", summary="Every rank is idle."),
    "all run": Case(
        [runs("line 2: train()")] * 4, "running", summary="Ranks 0-3 run line 2: train()."
    ),
    "one runs, the others are idle": Case(
        [IDLE, runs("line 2: train()"), IDLE],
        "running",
        summary="Rank 1 runs line 2: train().",
    ),
    "different lines": Case(
        [runs("line 2: f()"), runs("line 2: f()"), runs("line 7: g()")],
        "running",
        summary="Ranks 0-1 run line 2: f(), rank 2 runs line 7: g().",
    ),
    "every rank at another line": Case(
        [runs(f"line {i}: f()") for i in range(6)],
        "running",
        summary="Rank 0 runs line 0: f(), rank 1 runs line 1: f(), rank 2 runs line 2: f(), "
        "ranks 3-5 run.",
    ),
    "outside of a cell": Case(
        [runs("initialize"), runs("")],
        "running",
        summary="Rank 0 runs (initialize), rank 1 runs.",
    ),
    "all in the same collective": Case(
        [waits()] * 4,
        "running",
        summary="Ranks 0-3 wait in all_reduce #5 (line 3: dist.all_reduce(x)), "
        "where no rank is missing.",
    ),
    "one has passed on already": Case(
        [waits(), runs(recent=(done(REDUCE), call(seq=6)))], "running"
    ),
    "called asynchronously, not waited for": Case([waits(), idle(REDUCE)], "running"),
    "called later ones asynchronously": Case([waits(), idle(call(seq=9))], "running"),
    "names of the recorder": Case(
        [
            waits(call("gloo:all_reduce")),
            waits(call("allreduce")),
            waits(call("nccl:all_reduce")),
            waits(call("gloo:sparse_all_reduce")),
        ],
        "running",
    ),
    "variants of all_gather": Case(
        [
            waits(call("_allgather_base")),
            waits(call("all_gather_into_tensor")),
            waits(call("gloo:all_gather", sizes=((9,),))),
        ],
        "running",
    ),
    "variants of reduce_scatter": Case(
        [waits(call("reduce_scatter_tensor")), waits(call("nccl:_reduce_scatter_base"))],
        "running",
    ),
    "variants of all_to_all": Case(
        [waits(call("all_to_all_single", sizes=((3,),))), waits(call("alltoall_base"))], "running"
    ),
    "barriers": Case(
        [waits(call("barrier", dtypes=(), sizes=())), waits(call("nccl:all_reduce_barrier"))],
        "running",
    ),
    "other shapes, as many elements": Case(
        [waits(call(sizes=((2, 3),))), waits(call(sizes=((6,),)))], "running"
    ),
    "little known of one": Case([waits(call(sizes=(), dtypes=())), waits()], "running"),
    "gather from ranks with different sizes": Case(
        [waits(call("gather", sizes=((3,),), peer=0)), waits(call("gather", peer=0))], "running"
    ),
    "scatter, whose root alone has inputs": Case(
        [
            waits(call("scatter", sizes=((2,), (2,)), dtypes=("float32",) * 2)),
            waits(call("scatter", sizes=(), dtypes=())),
        ],
        "running",
    ),
    "send meets recv": Case(
        [sends(1), receives(0)],
        "running",
        summary="Rank 0 waits in send to 1 (line 2: dist.send(x)), rank 1 waits in recv from 0 "
        "(line 2: dist.recv(x)), where no rank is missing.",
    ),
    "send meets recv from anyone": Case([IDLE, sends(2), receives(None)], "running"),
    "isend and recv_object_list": Case(
        [waits(p2p("isend", 1)), waits(p2p("recv_object_list", 0))], "running"
    ),
    "unrecorded, all of them": Case([waits(UNRECORDED)] * 3, "running"),
    "a barrier that is not recorded": Case([waits(call("monitored_barrier", None))] * 2, "running"),
    "behind others that can go on": Case(
        [receives(1), waits(pair(1, 2)), waits(pair(1, 2))],
        "running",
        summary="Ranks 1-2 wait in all_reduce #2 of ranks 1-2 (line 3: dist.all_reduce(x)), where "
        "no rank is missing; rank 0 waits in recv from 1 (line 2: dist.recv(x)) for others that "
        "can go on.",
    ),
    "a subgroup is busy, the rest idle": Case(
        [waits(pair(0, 1)), waits(pair(0, 1)), IDLE], "running"
    ),
    "all make a group": Case([waits(NEW_GROUP)] * 3, "running"),
    "alone in the world": Case([waits()], "running"),
}
