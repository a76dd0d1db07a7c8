"""Hangs of two ranks that have a GPU each: NCCL's collectives wait on the GPU, not in the call."""

from __future__ import annotations

import time

import rankbook as rb
from rankbook.selftest.steps import Part, Scene, Step, check, expect, until, values

__all__ = ["NCCL_HANGS"]

RANKS = 2
SUM = "499500.0"

X = "x = torch.ones(1024, device=device)\n"

ITEM = X + "if rank == 0:\n    dist.all_reduce(x)\n    x.sum().item()"
SYNCHRONIZE = X + "if rank == 0:\n    dist.all_reduce(x)\n    torch.cuda.synchronize()"
BARRIER = "if rank == 0: dist.barrier()"
HANDLE = X + "if rank == 0:\n    work = dist.all_reduce(x, async_op=True)\n    work.wait(); x.cpu()"
IDLE = X + "if rank == 0: dist.all_reduce(x)"
OTHER_OPERATION = (
    X
    + "if rank == 0: dist.all_reduce(x)\n"
    + "else: dist.all_gather_into_tensor(torch.empty(2048, device=device), x)\n"
    + "x.sum().item()"
)
RAISED = X + "if rank == 1: 1 / 0\ndist.all_reduce(x)\nx.sum().item()"
KILLED = (
    X
    + "import os, signal\n"
    + "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
    + "dist.all_reduce(x)\nx.sum().item()"
)


def start(scene: Scene) -> None:
    """Start two ranks."""
    scene.current = rb.start("nccl", RANKS)
    _remember(scene)


def _remember(scene: Scene) -> None:
    """Note what must be the same after a hang."""
    values(scene.session, "import os\nkept = torch.arange(1000., device=device)")
    scene.kept["pids"] = values(scene.session, "os.getpid()")
    _expect_whole(scene)


def _expect_whole(scene: Scene) -> None:
    code = "y = torch.ones(2, device=device); dist.all_reduce(y)\n(y[0].item(), kept.sum().item())"
    expect(values(scene.session, code, timeout=20), [f"(2.0, {SUM})"] * RANKS, "group and variable")
    expect(values(scene.session, "os.getpid()"), scene.kept["pids"], "the processes")


def hangs(name: str, code: str, kind: str, culprits: tuple[int, ...]) -> Step:
    """A step in which a cell hangs; it must be explained and freed, with the variables in place."""

    def run(scene: Scene) -> str:
        _renew_after_failure(scene)
        scene.kept["whole"] = False
        began = time.monotonic()
        result = scene.session.run(code, timeout=15)
        took = time.monotonic() - began
        verdict = result.diagnosis
        if verdict is None:
            raise AssertionError(f"the cell ended after {took:.1f} s without a verdict")
        expect((verdict.kind, tuple(verdict.ranks)), (kind, culprits), "the verdict")
        _expect_whole(scene)
        scene.kept["whole"] = True
        return f"{took:.1f} s: {verdict.summary}"

    return Step(name, run, 60)


def _renew_after_failure(scene: Scene) -> None:
    """Give the next step new processes where the last one has left a rank in a hang."""
    if not scene.kept.get("whole", True):
        scene.session.reset(hard=True)
        _remember(scene)


def idle(scene: Scene) -> str:
    """A collective that hangs on the GPU of an idle rank is told, and an interrupt frees it."""
    _renew_after_failure(scene)
    scene.kept["whole"] = False
    session = scene.session
    check(session.run(IDLE, timeout=15).ok, "the cell itself ends")
    until(lambda: session.diagnose().kind == "missing_rank", 5, "the missing rank is told")
    summary = session.diagnose().summary
    session.interrupt()
    _expect_whole(scene)
    scene.kept["whole"] = True
    return summary


def killed(scene: Scene) -> str:
    """A rank that is killed is told, the other is freed, and keeps its variables."""
    _renew_after_failure(scene)
    scene.kept["whole"] = False
    began = time.monotonic()
    verdict = scene.session.run(KILLED, timeout=15).diagnosis
    took = time.monotonic() - began
    if verdict is None:
        raise AssertionError(f"the cell ended after {took:.1f} s without a verdict")
    expect((verdict.kind, tuple(verdict.ranks)), ("dead", (1,)), "the verdict")
    began = time.monotonic()
    scene.session.restart_ranks()
    again = time.monotonic() - began
    expect(values(scene.session, "kept.sum().item()", ranks=[0]), [SUM], "rank 0's variable")
    reduced = values(
        scene.session, "y = torch.ones(1, device=device); dist.all_reduce(y); y.item()"
    )
    expect(reduced, ["2.0"] * RANKS, "all_reduce")
    return f"{took:.1f} s, replaced in {again:.1f} s: {verdict.summary}"


def shutdown(scene: Scene) -> None:
    """The ranks end."""
    scene.session.shutdown()


def _missing(name: str, code: str) -> Step:
    return hangs(f"a rank is missing: {name}", code, "missing_rank", (1,))


NCCL_HANGS = Part(
    "nccl hangs",
    (
        Step("two ranks start with NCCL", start, 90, vital=True),
        _missing("seen in .item()", ITEM),
        _missing("seen in barrier", BARRIER),
        _missing("seen in torch.cuda.synchronize", SYNCHRONIZE),
        _missing("seen behind a handle", HANDLE),
        hangs("other operations", OTHER_OPERATION, "mismatch", (0, 1)),
        hangs("a rank raised", RAISED, "raised", (1,)),
        Step("a rank is missing: the others are idle", idle, 60),
        Step("a rank is killed", killed, 90),
        Step("shutdown", shutdown, 30),
    ),
    gpus=RANKS,
)
