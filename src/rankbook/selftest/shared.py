"""Several ranks on one GPU."""

from __future__ import annotations

import rankbook as rb
from rankbook.selftest.steps import NotRunError, Part, Scene, Step, expect, values

__all__ = ["SHARED"]

RANKS = 2

ALL_REDUCE = "x = torch.full((4,), rank + 1., device='cuda:0')\ndist.all_reduce(x)\nx[0].item()"

DDP = """
from torch.nn.parallel import DistributedDataParallel
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Linear(8, 1).to('cuda:0'), device_ids=[0])
model(torch.full((4, 8), rank + 1., device='cuda:0')).mean().backward()
grad = model.module.weight.grad
(grad.is_cuda, [round(g, 3) for g in grad[0, :2].tolist()])
"""


def start(scene: Scene) -> None:
    """Start two gloo ranks, which share the first GPU, and are told so."""
    scene.current = rb.start("gloo", RANKS, gpus="0", share_gpus=True)
    expect(values(scene.session, "str(device)"), ["'cuda:0'"] * RANKS, "the devices")
    told = [state.info.sharing for state in scene.session.states() if state.info]
    expect(told, [RANKS] * RANKS, "ranks on the GPU, as the status says")
    values(scene.session, "kept = torch.arange(1000., device='cuda:0')")


def collectives(scene: Scene) -> None:
    """Gloo reduces tensors of the GPU."""
    expect(values(scene.session, ALL_REDUCE), ["3.0"] * RANKS, "all_reduce")


def ddp(scene: Scene) -> None:
    """DDP averages gradients on the GPU over gloo."""
    expect(values(scene.session, DDP), ["(True, [1.5, 1.5])"] * RANKS, "the gradients")


def hang(scene: Scene) -> str:
    """A missing rank is named, the other is freed, its variables on the GPU stay."""
    session = scene.session
    code = "if rank == 0: dist.all_reduce(torch.ones(4, device='cuda:0'))"
    result = session.run(code, timeout=20)
    verdict = result.diagnosis
    if verdict is None:
        raise AssertionError("the cell ended without a verdict")
    expect((verdict.kind, tuple(verdict.ranks)), ("missing_rank", (1,)), "the verdict")
    expect(values(session, "kept.sum().item()"), ["499500.0"] * RANKS, "a variable on the GPU")
    collectives(scene)
    return verdict.summary


def nccl(scene: Scene) -> str:
    """NCCL on a shared GPU works, or is refused in one line as too old, and the group stays."""
    session = scene.session
    try:
        session.reset("nccl")
    except rb.DeviceError as refusal:
        expect(values(session, ALL_REDUCE), ["3.0"] * RANKS, "all_reduce after the refusal")
        expect(len(str(refusal).splitlines()), 1, "lines of the refusal")
        raise NotRunError(f"refused: {refusal}") from refusal
    expect(values(session, ALL_REDUCE), ["3.0"] * RANKS, "all_reduce with NCCL")
    return "NCCL took several ranks on one GPU"


def shutdown(scene: Scene) -> None:
    """The ranks end."""
    scene.session.shutdown()


SHARED = Part(
    "shared GPU",
    (
        Step("two gloo ranks share a GPU", start, 60, vital=True),
        Step("gloo reduces tensors of the GPU", collectives, 30),
        Step("DDP over gloo on the GPU", ddp, 60),
        Step("a hang is explained and freed", hang, 40),
        Step("NCCL with several ranks on one GPU", nccl, 40),
        Step("shutdown", shutdown, 30),
    ),
    gpus=1,
)
