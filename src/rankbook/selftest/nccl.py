"""One rank on each GPU, with NCCL."""

from __future__ import annotations

import time

import rankbook as rb
from rankbook.selftest.steps import (
    Held,
    Part,
    Scene,
    Step,
    check,
    expect,
    until,
    values,
)

__all__ = ["ONE_RANK_PER_GPU"]

KEPT = "kept = torch.arange(1000., device=device)"
KEPT_SUM = "kept.sum().item()"
SUM = str(float(sum(range(1000))))

COLLECTIVES = """
n = world_size
x = torch.full((4,), float(rank + 1), device=device)
dist.all_reduce(x)
everything = torch.empty(4 * n, device=device)
dist.all_gather_into_tensor(everything, torch.full((4,), float(rank), device=device))
root = torch.full((4,), float(rank), device=device)
dist.broadcast(root, src=n - 1)
part = torch.empty(2, device=device)
dist.reduce_scatter_tensor(part, torch.ones(2 * n, device=device))
work = dist.all_reduce(torch.ones(1, device=device), async_op=True)
work.wait()
objects = [None] * n
dist.all_gather_object(objects, {"rank": rank})
dist.barrier()
(x[0].item(), everything[-1].item(), root[0].item(), part[0].item(), objects[-1]["rank"])
"""

DDP = """
from torch.nn.parallel import DistributedDataParallel
torch.manual_seed(rank)
model = DistributedDataParallel(torch.nn.Linear(16, 4).to(device), device_ids=[device.index])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
before = model.module.weight.detach().clone()
model(torch.randn(8, 16, device=device)).square().mean().backward()
optimizer.step()
same = [torch.empty_like(before) for _ in range(world_size)]
dist.all_gather(same, model.module.weight.detach())
(not torch.equal(before, model.module.weight), all(torch.equal(same[0], w) for w in same))
"""

FSDP2 = """
from torch.distributed.fsdp import fully_shard
torch.manual_seed(0)
sharded = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Linear(16, 4)).to(device)
for layer in (*sharded, sharded):
    fully_shard(layer)
optimizer = torch.optim.AdamW(sharded.parameters())
sharded(torch.randn(8, 16, device=device)).square().mean().backward()
optimizer.step()
weight = sharded[0].weight
(weight.to_local().is_cuda, weight.to_local().shape[0] * world_size >= 16)
"""

PROFILE = """
from torch.profiler import ProfilerActivity, profile
with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
    dist.all_reduce(torch.ones(1 << 20, device=device))
    torch.cuda.synchronize()
any("nccl" in event.key.lower() for event in profiler.key_averages())
"""

CYCLES_PER_SECOND = 1.7e9
"""Of a GPU's clock, roughly: ``torch.cuda._sleep`` counts in them."""


def start(scene: Scene) -> str:
    """Start one rank for every GPU."""
    began = time.monotonic()
    scene.current = rb.start("nccl")
    session = scene.session
    expect(session.backend, "nccl", "the backend")
    expect(
        values(session, "y = torch.ones(1, device=device); dist.all_reduce(y); y.item()"),
        [str(float(session.world_size))] * session.world_size,
        "all_reduce",
    )
    took = time.monotonic() - began
    values(session, KEPT)
    return f"{session.world_size} rank(s), {took:.1f} s to the first all_reduce"


def infos(scene: Scene) -> str:
    """``DistInfo`` names each rank's own GPU, and that one is current."""
    session = scene.session
    for rank, info in session.infos.items():
        seen = (info.backend, info.rank, str(info.device), info.is_main)
        expect(seen, ("nccl", rank, f"cuda:{rank}", rank == 0), f"DistInfo of rank {rank}")
    wanted = [f"({rank}, 'cuda:{rank}')" for rank in range(session.world_size)]
    expect(values(session, "(torch.cuda.current_device(), str(device))"), wanted, "the device")
    return ", ".join(dict.fromkeys(values(session, "torch.cuda.get_device_name()")))  # type: ignore[arg-type]


def collectives(scene: Scene) -> None:
    """Collectives give right results on the GPUs."""
    n = scene.session.world_size
    wanted = (n * (n + 1) / 2, float(n - 1), float(n - 1), float(n), n - 1)
    expect(values(scene.session, COLLECTIVES), [str(wanted)] * n, "the results")


def untouched(scene: Scene) -> None:
    """The notebook's process has not initialised CUDA, also after it has pulled a GPU's tensor."""
    import torch

    tensor = scene.session.pull("kept")[0]
    expect((tensor.device.type, tensor.sum().item()), ("cpu", float(SUM)), "the pulled tensor")
    scene.session.dashboard()
    check(not torch.cuda.is_initialized(), "CUDA is not initialised here")


def memory(scene: Scene) -> str:
    """The state of a rank tells torch's memory and how full the GPU is."""
    gib = 1 << 30
    before = [state.gpu.used if state.gpu else 0 for state in scene.session.states()]
    values(scene.session, f"big = torch.empty({gib}, dtype=torch.uint8, device=device)")
    until(
        lambda: all(s.gpu and s.gpu.used for s in scene.session.states()),
        5,
        "NVML tells the memory",
    )
    # NVML's figures are half a second old at most.
    until(
        lambda: all(
            s.gpu and s.gpu.used - b > 0.9 * gib
            for s, b in zip(scene.session.states(), before, strict=True)
        ),
        5,
        "the GPU is told to be fuller by 1 GiB",
    )
    states = scene.session.states()
    check(all((s.gpu_memory or 0) >= gib for s in states), "torch's memory is told")
    values(scene.session, "del big; torch.cuda.empty_cache()")
    gpu = states[0].gpu
    return f"{gpu.name}: {gpu.used / gib:.1f} of {gpu.total / gib:.0f} GiB" if gpu else ""


def busy(scene: Scene) -> str:
    """A stream that is only kept busy is told as running, never as hung."""
    session = scene.session
    cycles = int(3 * CYCLES_PER_SECOND)
    code = f"torch.cuda._sleep({cycles})\nz = torch.ones(1, device=device)\ndist.all_reduce(z)\n"
    kinds: set[str] = set()

    def seen() -> bool:
        kinds.add(session.diagnose().kind)
        return not session.doing

    with Held(session, code + "z.item()") as cell:
        until(seen, 15, "it ends")
        result = cell.wait()
    expect(
        [result[r].ok for r in result], [True] * session.world_size, "whether the cell ended well"
    )
    expect(kinds - {"running", "idle", "slow"}, set(), "what else it was told to be")
    return ", ".join(sorted(kinds))


def trains(code: str, what: str) -> Step:
    """A step that runs a training step, which shows only True."""

    def run(scene: Scene) -> None:
        n = scene.session.world_size
        expect(values(scene.session, code), ["(True, True)"] * n, what)

    return Step(what, run, 60)


def profiles(scene: Scene) -> None:
    """The profiler sees NCCL's kernels on a rank."""
    n = scene.session.world_size
    if n == 1:  # NCCL copies where it has nobody to talk to
        code = PROFILE.replace('"nccl" in event.key.lower()', '"cuda" in event.key.lower()')
    else:
        code = PROFILE
    expect(values(scene.session, code), ["True"] * n, "whether it saw a kernel")


def generations(scene: Scene) -> str:
    """Three more generations, and gloo in between; variables on the GPU stay."""
    session = scene.session
    n, times = session.world_size, []
    for backend in ("nccl", "gloo", "nccl"):
        began = time.monotonic()
        session.reset(backend)
        times.append(time.monotonic() - began)
        code = "w = torch.ones(1, device=device); dist.all_reduce(w); w.item()"
        expect(values(session, code), [str(float(n))] * n, f"all_reduce with {backend}")
        expect(values(session, KEPT_SUM), [SUM] * n, "a variable on the GPU")
    return ", ".join(f"{t * 1000:.0f} ms" for t in times)


def shutdown(scene: Scene) -> None:
    """The ranks end, and the GPUs' memory is free again (see the part about memory)."""
    scene.session.shutdown()


ONE_RANK_PER_GPU = Part(
    "nccl",
    (
        Step("one rank per GPU starts with NCCL", start, 90, vital=True),
        Step("DistInfo names the GPUs", infos),
        Step("collectives on the GPUs", collectives, 60),
        Step("the notebook's process never starts CUDA", untouched),
        Step("the memory of the GPUs is told", memory, 30),
        Step("a busy stream is no hang", busy, 40),
        trains(DDP, "a step of DDP"),
        trains(FSDP2, "a step of FSDP2"),
        Step("torch's profiler", profiles, 60),
        Step("three more generations", generations, 60),
        Step("shutdown", shutdown, 30),
    ),
    gpus=1,
)
