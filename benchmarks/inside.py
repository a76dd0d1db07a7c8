"""Measure looking into ranks: ``python benchmarks/inside.py [-n RANKS]``.

In a real kernel: a Tab while the ranks are idle and while they compute, a command of the debugger
from Enter to the next prompt, and ``%dist_diff`` of a module with 100 million parameters.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.manager import KernelManager

_TIMES = 20
_UNUSED = """%%dist -r 0
import timeit
from rankbook.calls import installed
ledger = installed()
checks = "ledger.check is not None or ledger.keeper is not None; ledger.keeper is None"
hooks = timeit.timeit(checks, globals=globals(), number=100_000) / 100_000
alone = torch.distributed.new_group([0], use_local_synchronization=True)
call = timeit.timeit("dist.all_reduce(x, group=alone)", globals=globals(), number=2000) / 2000
print(f"{hooks * 1e9:.0f} ns of {call * 1e6:.0f} us of an all_reduce: {100 * hooks / call:.2f} %")
"""
_BIG = "big = torch.nn.Linear(10_000, 10_000, bias=False)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--ranks", type=int, default=4)
    parser.add_argument(
        "--light", action="store_true", help="Without what takes memory or minutes: for many ranks."
    )
    args = parser.parse_args()
    ranks = args.ranks
    with kernel() as client:
        run(client, "%load_ext rankbook")
        run(client, f"%dist_init gloo -n {ranks} --no-dashboard")
        run(client, "%%dist\nmodel = torch.nn.Linear(3, 4)")
        told("Tab, ranks idle", [timed(lambda: tab(client)) for _ in range(_TIMES)])
        run(
            client,
            "%%dist --no-wait\nimport time\nend = time.time() + 5\nwhile time.time() < end: 0",
        )
        told("Tab, ranks compute", [timed(lambda: tab(client, busy=True)) for _ in range(_TIMES)])
        run(client, "%dist_interrupt")
        client.execute("%%dist\nbreakpoint()")
        client.get_stdin_msg(timeout=60)
        told("debugger, p rank", [timed(lambda: command(client)) for _ in range(_TIMES)])
        client.input("c")
        client.get_shell_msg(timeout=60)
        run(client, "%dist x = torch.ones(4)")
        told("%dist_show", [timed(lambda: run(client, "%dist_show x")) for _ in range(_TIMES)])
        if args.light:
            run(client, "%dist_shutdown")
            return
        told("100 stops, steps and quits", [timed(lambda: stops(client, 100))])
        print(f"{'hooks that are not used':28} {printed(client, _UNUSED)}", flush=True)
        run(client, f"%%dist\n{_BIG}\nwith torch.no_grad(): big.weight.fill_(1)")
        told(
            "%dist_diff, 100M float32",
            [timed(lambda: run(client, "%dist_diff big")) for _ in "123"],
        )
        run(client, "%dist_shutdown")


@contextmanager
def kernel() -> Iterator[Any]:
    """A kernel of its own, and its client."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def run(client: Any, code: str) -> None:
    """Run a cell."""
    reply = client.execute(code, reply=True, timeout=120)["content"]
    if reply["status"] != "ok":
        raise RuntimeError(reply)


def tab(client: Any, *, busy: bool = False) -> None:
    """Complete an attribute that lives on the ranks; busy ones may have no time to answer."""
    reply = client.complete("%%dist\nmodel.weig", reply=True, timeout=60)["content"]
    if reply["matches"] != ["weight"] and not (busy and not reply["matches"]):
        raise RuntimeError(reply)


def command(client: Any) -> None:
    """Type a command at the prompt, and wait for the next prompt."""
    client.input("p rank")
    client.get_stdin_msg(timeout=60)


def stops(client: Any, count: int) -> None:
    """Stop all ranks, step once, and end the cell, again and again; then all must work."""
    for _ in range(count):
        # Else the kernel drops what comes within a moment after an error.
        client.execute("%%dist\nbreakpoint()\na = 1\ndist.barrier()", stop_on_error=False)
        for answer in ("n", "q"):
            client.get_stdin_msg(timeout=60)
            client.input(answer)
        reply = client.get_shell_msg(timeout=60)["content"]
        if not reply.get("evalue", "").startswith("Ended at the prompt"):
            raise RuntimeError(reply)
    run(
        client, "%%dist\none = torch.ones(1)\ndist.all_reduce(one)\nassert one.item() == world_size"
    )


def printed(client: Any, code: str) -> str:
    """What a cell prints."""
    texts: list[str] = []

    def take(message: dict[str, Any]) -> None:
        texts.append(message["content"].get("text", ""))

    reply = client.execute_interactive(code, timeout=120, output_hook=take)["content"]
    if reply["status"] != "ok":
        raise RuntimeError(reply)
    return "".join(texts).strip()


def timed(act: Callable[[], None]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def told(what: str, seconds: list[float]) -> None:
    """Print the median and the longest."""
    median, most = statistics.median(seconds), max(seconds)
    print(f"{what:28} {1000 * median:8.0f} ms, at most {1000 * most:.0f} ms", flush=True)


if __name__ == "__main__":
    main()
