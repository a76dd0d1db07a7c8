"""Random acts on one session from several threads: each ends, and afterwards the session works."""

from __future__ import annotations

import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil
from world import at_any_moment, descendants, until

import rankbook as rb

__all__ = ["run"]

_LIMIT = 90.0
"""Seconds within which every act must end."""

_ROUND = 15.0
"""Most seconds of acts before the session is tried."""

_CELLS = (
    "rank",
    "x = torch.ones(10) * rank; x",
    "print('a' * 1000)",
    "dist.all_reduce(torch.ones(1))",
    "for _ in range(200): dist.all_reduce(torch.ones(1))",
    "if rank: dist.all_reduce(torch.ones(1))",
    "if rank == 0: raise ValueError('x')\ndist.barrier()",
    "handle = dist.all_reduce(torch.ones(1), async_op=True)",
    "group = dist.new_group([0, 1]); group",
    "ddp = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 3))",
    "import time; time.sleep(0.2)",
    "import time; end = time.time() + 2\nwhile time.time() < end: pass",
    "import threading; threading.Thread(target=lambda: print('hello')).start()",
    "import os; os._exit(3) if rank == 1 and torch.rand(1) > 0.6 else None",
    "dist.destroy_process_group()",
    "raise KeyboardInterrupt",
    "import sys; sys.exit(2)",
)

_SCRIPT = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
dist.destroy_process_group()
"""

_WORKS = "t = torch.ones(1); dist.all_reduce(t); int(t)"


Act = Callable[[Random], object]


@dataclass
class Report:
    """What happened."""

    acts: Counter[str] = field(default_factory=Counter)
    """How often each act ended as it may."""
    rounds: int = 0
    repairs: Counter[str] = field(default_factory=Counter)
    """What a person had to do before the session worked again."""
    faults: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether every act ended well, and the session always worked again."""
        return self.rounds > 0 and self.rounds == self.repairs.total() and not self.faults

    def lines(self) -> list[str]:
        """The report in words."""
        repairs = ", ".join(f"{n} {how}" for how, n in self.repairs.most_common())
        return [
            f"random acts: {self.acts.total()} of {len(self.acts)} kinds in {self.rounds} rounds",
            f"  worked afterwards: {self.repairs.total()} ({repairs})",
            *(f"  FAULT {fault}" for fault in self.faults),
        ]


def run(seconds: float, random: Random, n: int = 3) -> Report:
    """Act on one session for some time."""
    report = Report()
    session = rb.start("gloo", n)
    with ExitStack() as stack:
        stack.callback(session.shutdown)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        script = Path(folder, "script.py")
        script.write_text(_SCRIPT, encoding="utf-8")
        acts = _acts(session, script)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not report.faults:
            _round(session, acts, random, report)
    if until(lambda: not descendants(), 5) == float("inf"):
        report.faults.append(f"left behind: {len(descendants())} processes")
    return report


def _round(session: rb.Session, acts: Mapping[str, Act], random: Random, report: Report) -> None:
    """Act from three threads for a while, then try whether the session works."""
    stop = threading.Event()
    doing: dict[int, str] = {}

    def act(number: int, acts: Mapping[str, Act], random: Random) -> None:
        while not stop.is_set():
            name = doing[number] = random.choice(list(acts))
            try:
                acts[name](random)
            except rb.RankbookError as error:  # it says in one line what cannot be done now
                name = f"{name}: {type(error).__name__}"
            except BaseException:  # noqa: BLE001 - whatever else comes is a fault
                report.faults.append(f"{name}: {traceback.format_exc()}")
            report.acts[name] += 1
            doing[number] = "nothing"
            stop.wait(random.uniform(0, 0.5))

    cells = {"run": acts["run"]}
    threads = [
        threading.Thread(target=act, args=(number, some, Random(random.random())), daemon=True)
        for number, some in enumerate((cells, acts, acts))
    ]
    for thread in threads:
        thread.start()
    at_any_moment(random, _ROUND)
    stop.set()
    if until(lambda: not any(thread.is_alive() for thread in threads), _LIMIT) == float("inf"):
        report.faults.append(f"did not end within {_LIMIT:g} s: {list(doing.values())}")
        return
    report.rounds += 1
    repairs: dict[str, Callable[[], object]] = {
        "at once": lambda: None,
        "after a restart of dead ranks": session.restart_ranks,
        "after a reset": session.reset,
        "after a hard reset": lambda: session.reset(hard=True),
    }
    said = []
    for how, repair in repairs.items():
        try:
            repair()
            result = session.run(_WORKS)
        except rb.RankbookError as error:
            said.append(str(error))
            continue
        if result.ok and {r.result_repr for r in result.values()} == {str(session.world_size)}:
            report.repairs[how] += 1
            return
        said.append(str(result))
    report.faults.append(f"did not work again: {said}")


def _acts(session: rb.Session, script: Path) -> dict[str, Act]:
    """What people do, by name; each may raise our errors."""

    def run(random: Random) -> None:
        timeout = random.choice((None, None, None, 1.0))
        session.run(random.choice(_CELLS), random.choice(("all", "all", "0", "0,1", "1:")), timeout)

    def kill(random: Random) -> None:
        pids = [state.pid for state in session.states() if state.pid]
        with suppress(psutil.NoSuchProcess, IndexError):  # it, or all of them, have just ended
            psutil.Process(random.choice(pids)).kill()

    return {
        "run": run,
        "kill": kill,
        "interrupt": lambda _: session.interrupt(),
        "diagnose": lambda _: session.diagnose(),
        "diagnose_closely": lambda _: session.diagnose_closely(),
        "stacks": lambda _: session.stacks(),
        "states": lambda _: session.states(),
        "snapshot": lambda _: session.snapshot(),
        "timeline": lambda _: session.timeline(),
        "save_report": lambda _: session.save_report(script.with_suffix(".json")),
        "run_script": lambda _: session.run_script(script),
        "push": lambda _: session.push(y=1),
        "pull": lambda _: session.pull("x"),
        "diff": lambda _: session.diff("x"),
        "show": lambda _: session.show("x"),
        "mesh": lambda _: session.mesh(dp=session.world_size),
        "reset": lambda random: session.reset(interrupt=random.random() < 0.5),
        "reset --clean": lambda _: session.reset(clean=True, interrupt=True),
        "reset --hard": lambda _: session.reset(hard=True),
        "restart": lambda _: session.restart_ranks(),
        "restart 1": lambda _: session.restart_ranks([1], interrupt=True),
        "restart 1 --from 0": lambda _: session.restart_ranks([1], from_rank=0, interrupt=True),
        "initialize": lambda random: session.initialize(
            nproc=random.choice((2, 3, 4)), interrupt=random.random() < 0.5
        ),
        "destroy": lambda _: session.destroy(),
    }
