"""Processes that a cell forks can be ended as in a plain kernel."""

from __future__ import annotations

import pytest
from counts import POOLS

FORMS = {
    "terminate": """
import multiprocessing, time
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
process.start()
process.terminate()
process.join(20)
seen = process.exitcode
""",
    "executor": """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
    seen = -15 if list(executor.map(abs, range(-8, 0))) == list(range(8, 0, -1)) else None
""",
    "executor in the middle of its work": """
from concurrent.futures import ProcessPoolExecutor
import multiprocessing, time
executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
future = executor.submit(time.sleep, 600)
[worker] = executor._processes.values()
worker.terminate()
seen = -15 if "BrokenProcessPool" in repr(future.exception(20)) else None
executor.shutdown()
""",
    "workers of a loader": """
loader = torch.utils.data.DataLoader(
    torch.arange(64), batch_size=4, num_workers=2, persistent_workers=True,
    multiprocessing_context="fork",
)
batches = iter(loader)
next(batches)
workers = list(batches._workers)
workers[0].terminate()
workers[0].join(20)
seen = -15 if workers[0].exitcode == 0 else None  # which torch's own handler makes of it
del batches, loader
""",
    "os.fork in a thread": """
import os, threading, time
codes = []
def fork():
    pid = os.fork()
    if not pid:
        time.sleep(600)
        os._exit(0)
    os.kill(pid, 15)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread = threading.Thread(target=fork)
thread.start()
thread.join(20)
[seen] = codes
""",
    "a cell that awaits": """
import asyncio, os, time
await asyncio.sleep(0)
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
process.start()
os.kill(process.pid, 15)
process.join(20)
seen = process.exitcode
""",
}


@pytest.mark.parametrize("code", FORMS.values(), ids=FORMS)
def test_a_child_ends_when_it_is_told_to(two, code):
    result = two.run(f"import multiprocessing\nseen = None\n{code}\nseen", timeout=60)
    result.raise_for_error()
    assert {its.result_repr for its in result.values()} == {"-15"}
    two.run("dist.barrier()").raise_for_error()


def test_a_child_is_interrupted_as_in_a_plain_kernel(two):
    """Also where the cell awaits, so that SIGINT cancels it in the rank itself."""
    code = """
import asyncio, os, signal, time
await asyncio.sleep(0)
there = os.pipe()
pid = os.fork()
if not pid:
    try:
        os.write(there[1], b"!")
        time.sleep(600)
    except KeyboardInterrupt:
        os._exit(3)
    finally:
        os._exit(4)
os.read(there[0], 1)
os.kill(pid, signal.SIGINT)
os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
    result = two.run(code, timeout=60)
    assert {its.result_repr for its in result.values()} == {"3"}


@pytest.mark.counted
def test_pools_of_processes_work_one_after_the_other(two):
    code = f"""
import multiprocessing
from multiprocessing.pool import Pool
context, done = multiprocessing.get_context("fork"), 0
for _ in range({POOLS}):
    with context.Pool(2) as pool:  # which ends it with terminate()
        assert pool.map(abs, range(-8, 0)) == list(range(8, 0, -1))
    pool.join()
    done += 1
done, len(multiprocessing.active_children())
"""
    result = two.run(code, timeout=100)
    assert {its.result_repr for its in result.values()} == {f"({POOLS}, 0)"}
    two.run("dist.barrier()").raise_for_error()


def test_workers_of_a_spawned_pool_find_what_its_initializer_has_set(two):
    code = """
from multiprocessing import get_context
setting = None
def begin(value):
    global setting
    setting = value
def work(number): return setting + number
with get_context("spawn").Pool(1, begin, (rank * 10,)) as pool: found = pool.map(work, [1, 2])
found
"""
    result = two.run(code, timeout=100)
    result.raise_for_error()
    assert {rank: its.result_repr for rank, its in result.items()} == {0: "[1, 2]", 1: "[11, 12]"}


def test_a_rank_keeps_its_own_handler_of_sigterm_after_forks(two):
    """Its own handler is as it was, however often it has forked."""
    result = two.run("import signal\nsignal.getsignal(signal.SIGTERM).__qualname__")
    assert {its.result_repr for its in result.values()} == {"'RankEngine._signal_stop'"}


_OWN_GROUP = """
import multiprocessing, os, socket

def work(number, port, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=number, world_size=2)
    x = torch.ones(1) * number
    dist.all_reduce(x, group=dist.new_group([0, 1]))
    results.put((x.item(), dist.get_world_size()))
    dist.destroy_process_group()

fork = multiprocessing.get_context("fork")
results, seen = fork.SimpleQueue(), []
for attempt in range(3):
    with socket.socket() as reserved:  # nobody else is given the port meanwhile
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("", 0))
        port = reserved.getsockname()[1]
        children = [fork.Process(target=work, args=(n, port, results)) for n in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(20)
    codes = [child.exitcode for child in children]
    seen.append([*codes, *(results.get() for code in codes if code == 0)])
"""


def test_forked_children_make_a_group_of_their_own_beside_that_of_their_rank(two):
    two.run(_OWN_GROUP, timeout=60).raise_for_error()
    assert two.pull("seen")[0] == [[0, 0, (1.0, 2), (1.0, 2)]] * 3
    assert two.run("x = torch.ones(1); dist.all_reduce(x); x")[1].result_repr == "tensor([2.])"


def test_a_worker_of_a_loader_knows_its_rank(two):
    code = (
        "class Data(torch.utils.data.IterableDataset):\n"
        "    def __iter__(self):\n"
        "        yield from [dist.get_rank(), dist.get_world_size()]\n"
        "loader = torch.utils.data.DataLoader(\n"
        "    Data(), num_workers=1, multiprocessing_context='fork'\n"
        ")\n"
        "[batch.tolist() for batch in loader]"
    )
    assert [r.result_repr for r in two.run(code).values()] == ["[[0], [2]]", "[[1], [2]]"]
