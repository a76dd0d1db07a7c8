"""A session on two CPU ranks, from its start to its end: what everything else rests on."""

from __future__ import annotations

import re
import time

import psutil

import rankbook as rb
from rankbook.selftest.steps import Held, Part, Scene, Step, expect, gone, until, values

__all__ = ["WALK"]

RANKS = 2
ALL_REDUCE = "x = torch.ones(2) * (rank + 1)\ndist.all_reduce(x)\nx.tolist()"
REDUCED = ["[3.0, 3.0]"] * RANKS


def start(scene: Scene) -> str:
    """Start two ranks and their group."""
    began = time.monotonic()
    scene.current = rb.start("gloo", RANKS)
    expect((scene.session.backend, scene.session.world_size), ("gloo", RANKS), "the group")
    expect(values(scene.session, ALL_REDUCE), REDUCED, "all_reduce")
    return f"{time.monotonic() - began:.1f} s to the first all_reduce"


def infos(scene: Scene) -> None:
    """``DistInfo`` of every rank is right, and a rank finds its names."""
    for rank, info in scene.session.infos.items():
        seen = (info.backend, info.rank, info.world_size, info.is_main)
        expect(seen, ("gloo", rank, RANKS, rank == 0), f"DistInfo of rank {rank}")
    names = "(rank, world_size, dist_info.rank, device.type, dist.get_rank())"
    wanted = [f"({rank}, {RANKS}, {rank}, 'cpu', {rank})" for rank in range(RANKS)]
    expect(values(scene.session, names), wanted, "the names on the ranks")


def cells(scene: Scene) -> None:
    """Values, output, errors and a choice of ranks come through."""
    session = scene.session
    result = session.run("print('from', rank)\nrank * 10")
    expect([result[r].stdout for r in result], ["from 0\n", "from 1\n"], "standard output")
    expect([result[r].result_repr for r in result], ["0", "10"], "values")
    result = session.run("1 / rank")
    expect(result[0].error and result[0].error.ename, "ZeroDivisionError", "the error of rank 0")
    expect((result[1].ok, result[1].result_repr), (True, "1.0"), "rank 1 beside it")
    expect(list(session.run("rank", ranks=[1])), [1], "the ranks that ran a cell for rank 1")


def transfer(scene: Scene) -> None:
    """Values go to the ranks and come back."""
    scene.session.push(sent={"lr": 0.5})
    scene.session.run("kept = torch.arange(4) + rank; sent['rank'] = rank").raise_for_error()
    back = scene.session.pull("sent")
    wanted = {r: {"lr": 0.5, "rank": r} for r in range(RANKS)}
    expect(back, wanted, "what came back")
    expect(scene.session.pull("kept")[1].tolist(), [1, 2, 3, 4], "a tensor of rank 1")


def hang(scene: Scene) -> str:
    """A cell that cannot end does, with a verdict; variables stay, the group works again."""
    before = values(scene.session, "import os\nos.getpid()")
    result = scene.session.run("if rank == 0: dist.all_reduce(torch.ones(1))", timeout=15)
    verdict = result.diagnosis
    if verdict is None:
        raise AssertionError("the cell ended without a verdict")
    expect((verdict.kind, tuple(verdict.ranks)), ("missing_rank", (1,)), "the verdict")
    expect(values(scene.session, ALL_REDUCE), REDUCED, "all_reduce afterwards")
    expect(values(scene.session, "os.getpid()"), before, "the processes")
    expect(values(scene.session, "kept[0].item()"), ["0", "1"], "a variable")
    return verdict.summary


def why(scene: Scene) -> str:
    """``diagnose`` names the rank for which others wait, and nobody touches it."""
    session = scene.session
    expect(session.diagnose().kind, "idle", "the diagnosis of idle ranks")
    code = "import time\nif rank == 1: time.sleep(2.5)\ndist.barrier()\n'done'"
    with Held(session, code) as cell:
        until(lambda: session.diagnose().kind == "slow", 5, "a rank is told to be slow")
        verdict = session.diagnose()
        result = cell.wait()
    expect(tuple(verdict.ranks), (1,), "the slow rank")
    expect([result[r].result_repr for r in result], ["'done'"] * RANKS, "how the cell ended")
    return verdict.summary


def interrupt(scene: Scene) -> str:
    """An interrupt ends Python that runs, and the variables stay."""
    session = scene.session
    with Held(session, "turns = 0\nwhile True: turns += 1") as cell:
        running = ["running"] * RANKS
        until(lambda: [s.state for s in session.states()] == running, 5, "both ranks run")
        began = time.monotonic()
        session.interrupt()
        took = time.monotonic() - began
        result = cell.wait()
    errors = [result[r].error and result[r].error.ename for r in result]
    expect(errors, ["KeyboardInterrupt"] * RANKS, "how the cell ended")
    expect(values(session, "turns > 0 and kept[0].item() == rank"), ["True"] * RANKS, "variables")
    return f"{took * 1000:.0f} ms"


def reset(scene: Scene) -> str:
    """Three more generations in the same processes."""
    session, began = scene.session, time.monotonic()
    first = session.generation
    for generation in range(first + 1, first + 4):
        session.reset()
        expect(session.generation, generation, "the generation")
        expect(values(session, ALL_REDUCE), REDUCED, "all_reduce")
    expect(values(session, "kept[0].item()"), ["0", "1"], "a variable")
    return f"{(time.monotonic() - began) / 3 * 1000:.0f} ms each"


def dashboard(scene: Scene) -> None:
    """The dashboard can be made, and its HTML and text tell of every rank."""
    shown = scene.session.dashboard()._repr_mimebundle_()  # Jupyter's own protocol
    for kind in ("text/html", "text/plain"):
        words = re.sub(r"<[^>]*>", " ", shown[kind]).split()
        missing = {"gloo", "idle", "cpu"} - {word.strip(",.:").lower() for word in words}
        expect(missing, set(), f"what is missing in {kind}")


def death(scene: Scene) -> str:
    """A rank that is killed is told at once, with how it ended."""
    code = "import signal\nif rank == 1: os.kill(os.getpid(), signal.SIGKILL)\ndist.barrier()"
    began = time.monotonic()
    result = scene.session.run(code, timeout=15)
    took = time.monotonic() - began
    verdict = result.diagnosis
    if verdict is None:
        raise AssertionError("the cell ended without a verdict")
    expect((verdict.kind, tuple(verdict.ranks)), ("dead", (1,)), "the verdict")
    expect(list(scene.session.dead_ranks), [1], "the ranks that have ended")
    return f"{took:.1f} s: {verdict.summary}"


def restart(scene: Scene) -> str:
    """A new process takes the dead rank's place; the other rank keeps its variables."""
    began = time.monotonic()
    scene.session.restart_ranks()
    took = time.monotonic() - began
    expect(values(scene.session, ALL_REDUCE), REDUCED, "all_reduce")
    expect(values(scene.session, "'kept' in globals()"), ["True", "False"], "who has variables")
    return f"{took:.2f} s"


def shutdown(scene: Scene) -> None:
    """Nothing is left running."""
    began = psutil.Process().children(recursive=True)
    scene.session.shutdown()
    gone(began, 10)


WALK = Part(
    "walk",
    (
        Step("two ranks start with gloo", start, 60, vital=True),
        Step("DistInfo and names on the ranks", infos),
        Step("cells: values, output, errors, ranks", cells),
        Step("values sent and brought back", transfer),
        Step("a hang is explained and freed", hang, 30),
        Step("who is waited for is told", why, 30),
        Step("an interrupt ends Python", interrupt, 30),
        Step("three more generations", reset, 30),
        Step("the dashboard's HTML and text", dashboard),
        Step("a rank that is killed is told", death, 30),
        Step("a dead rank is replaced", restart, 30),
        Step("shutdown leaves nothing running", shutdown),
    ),
)
