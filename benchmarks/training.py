"""Compare training in cells with training under torchrun: ``python benchmarks/training.py``.

The same code, a small network under DDP, with default settings on both sides. A cell of a new
session and a run of torchrun take turns, for the machine is never quiet; what counts is the ratio
of their steps per second, turn by turn. One session for all turns would not do: where the system
happens to place its processes makes some per cent, for as long as they live.

With ``--profile`` cells and profiled cells of one session take turns instead: what the profiler
costs while the cell runs, and what writing the trace takes afterwards.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from ast import literal_eval
from pathlib import Path
from statistics import median

import rankbook

_MODELS = {
    "CNN": """
model = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(64 * 8 * 8, 10),
)
inputs = torch.randn(16, 3, 32, 32)""",
    "MLP": """
model = nn.Sequential(
    nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
)
inputs = torch.randn(64, 784)""",
}

_TRAIN = """
import time
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
torch.manual_seed(0)
{model}
labels = torch.randint(10, (len(inputs),))
model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range({warmup} + {steps}):
    if step == {warmup}:
        dist.barrier()
        begin = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()
dist.barrier()
steps_per_second = {steps} / (time.perf_counter() - begin)
"""

_SCRIPT = """
import torch.distributed as dist
dist.init_process_group("gloo")
{train}
if dist.get_rank() == 0:
    print("steps per second:", steps_per_second)
dist.destroy_process_group()
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--models", nargs="+", choices=_MODELS, default=list(_MODELS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--profile", action="store_true", help="cells beside profiled cells")
    args = parser.parse_args()
    for n in args.ranks:
        for name in args.models:
            train = _TRAIN.format(model=_MODELS[name], warmup=10, steps=args.steps)
            (_profile if args.profile else _compare)(n, name, train, args.rounds)


def _profile(n: int, name: str, train: str, rounds: int) -> None:
    costs: dict[str, list[float]] = {"a step": [], "CPU time": [], "recording": [], "after": []}
    session = rankbook.start("gloo", n)
    code = f"import time\nbefore = time.process_time()\n{train}\n"
    code += "steps_per_second, time.process_time() - before"
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json.gz")
        for turn in range(rounds + 1):
            plain, profiled = {}, {}
            for path in (trace, None) if turn % 2 else (None, trace):
                begin = time.perf_counter()
                result = session.run(code, profile=path)
                result.raise_for_error()
                (profiled if path else plain).update(
                    result=result,
                    said=literal_eval(str(result[0].result_repr)),
                    seconds=max(one.seconds for one in result.values()),
                    whole=time.perf_counter() - begin,
                )
            if turn:  # the first pair imports what a profiler needs
                (steps, cpu), (steps_then, cpu_then) = plain["said"], profiled["said"]
                overhead = profiled["result"].profile.shares[0].overhead
                costs["a step"].append(steps / steps_then - 1)
                costs["CPU time"].append(cpu_then / cpu - 1)
                costs["recording"].append(overhead / profiled["seconds"])
                costs["after"].append(profiled["whole"] - profiled["seconds"])
        size = trace.stat().st_size / 1e6
        session.shutdown()
    print(f"{name}, {n} ranks, with --profile, {rounds} rounds, median (least to most):")
    for what in ("a step", "CPU time", "recording"):
        values = sorted(costs[what])
        print(f"  {what:9} {median(values):+.0%} ({values[0]:+.0%} to {values[-1]:+.0%})")
    print(f"  after the cell {median(costs['after']):.2f} s, for {size:.1f} MB", flush=True)


def _compare(n: int, name: str, train: str, rounds: int) -> None:
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "train.py")
        script.write_text(_SCRIPT.format(train=train))
        for turn in range(rounds):
            for side in ("cell", "torchrun") if turn % 2 else ("torchrun", "cell"):
                if side == "cell":
                    ours.append(_in_a_cell(n, train))
                else:
                    theirs.append(_under_torchrun(script, n))
    ratios = sorted(our / their for our, their in zip(ours, theirs, strict=True))
    print(
        f"{name}, {n} ranks, steps per second: {median(ours):.1f} in cells,"
        f" {median(theirs):.1f} under torchrun; ratio {median(ratios):.2f}"
        f" ({ratios[0]:.2f} to {ratios[-1]:.2f} in {rounds} rounds)",
        flush=True,
    )


def _in_a_cell(n: int, train: str) -> float:
    session = rankbook.start("gloo", n)
    try:
        result = session.run(f"{train}\nsteps_per_second")
    finally:
        session.shutdown()
    result.raise_for_error()
    return float(str(result[0].result_repr))


def _under_torchrun(script: Path, n: int) -> float:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={n}",
    ]
    ran = subprocess.run([*command, str(script)], capture_output=True, text=True, check=False)
    # Some runs abort as they end, in torch's own teardown, after all has been measured.
    if "steps per second:" not in ran.stdout:
        raise SystemExit(ran.stderr)
    return float(ran.stdout.rpartition("steps per second:")[2])


if __name__ == "__main__":
    main()
