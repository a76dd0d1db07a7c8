"""Programs for two ranks, each of which says what its account has of it.

``python account_programs.py DIRECTORY`` runs them all in two processes, and leaves what each rank
counted in ``DIRECTORY/0.json`` and ``1.json``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as funcol
import torch.distributed.distributed_c10d as c10d
from processes import let_pass, wait_until
from torch._C._distributed_c10d import _create_work_from_future
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from rankbook import calls
from rankbook.distributed.stores import Interruptible

SIZE = 2
PROGRAMS = {}
ledger: calls.Ledger


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def rank():
    return dist.get_rank()


def other():
    return 1 - rank()


def ones(count=4):
    return torch.ones(count)


@program
def eager():
    dist.all_reduce(ones(), op=dist.ReduceOp.MAX)
    dist.broadcast(ones(3), src=1)
    dist.all_gather([ones(), ones()], ones())
    dist.all_gather_into_tensor(ones(8), ones())
    dist.reduce_scatter_tensor(ones(2), ones(4))
    dist.reduce(ones(), dst=1, op=dist.ReduceOp.PRODUCT)
    dist.gather(ones(), [ones(), ones()] if rank() == 0 else None, dst=0)
    dist.scatter(ones(), [ones(), ones()] if rank() == 1 else None, src=1)
    dist.all_to_all_single(ones(), ones())
    dist.barrier()


@program
def handles():
    work = dist.all_reduce(ones(), async_op=True)
    kept = [dist.broadcast(ones(), src=0, async_op=True)]
    work.wait()
    kept.pop().wait()
    dist.all_reduce(ones(), async_op=True).get_future().wait()


@program
def send_and_recv():
    if rank() == 0:
        dist.send(ones(), dst=1, tag=7)
        dist.recv(ones(), src=1, tag=8)
    else:
        dist.recv(ones(), src=0, tag=7)
        dist.send(ones(), dst=0, tag=8)


@program
def recv_from_anybody():
    if rank() == 0:
        dist.send(ones(), dst=1, tag=3)
    else:
        dist.recv(ones(), tag=3)


@program
def isend_and_irecv():
    sent = dist.isend(ones(), dst=other(), tag=5)
    received = dist.irecv(ones(), src=other(), tag=5)
    sent.wait()
    received.wait()


@program
def batch():
    operations = [
        dist.P2POp(dist.isend, ones(), other(), tag=1),
        dist.P2POp(dist.irecv, ones(), other(), tag=1),
    ]
    for work in dist.batch_isend_irecv(operations):
        work.wait()


@program
def objects():
    dist.all_gather_object([None, None], {"rank": rank()})
    dist.broadcast_object_list([rank()], src=0)


@program
def functional():
    group = dist.group.WORLD
    reduced = funcol.all_reduce(ones(), "sum", group)
    gathered = funcol.all_gather_tensor(ones(), 0, group)
    (reduced.sum() + gathered.sum()).item()


@program
def functional_of_every_kind():
    group = dist.group.WORLD
    for made in (
        funcol.reduce_scatter_tensor(ones(), "avg", 0, group),
        funcol.all_to_all_single(ones(), None, None, group),
        funcol.broadcast(ones(), 1, group),
        funcol.permute_tensor(ones(), [1, 0], group),
        *funcol.all_reduce_coalesced([ones(2), ones(3)], "max", group),
        *funcol.all_gather_into_tensor_coalesced([ones(2), ones(3)], group),
        *funcol.reduce_scatter_tensor_coalesced([ones(2)], "sum", [0], group),
    ):
        made.sum().item()
    gathered = funcol.all_gather_tensor_autograd(ones().requires_grad_(), 0, group)
    (gathered * 2).sum().backward()  # a torch up to 2.9 sends no gradient that was expanded


@program
def functional_sends():
    operators, name = torch.ops._c10d_functional, dist.group.WORLD.group_name
    if not hasattr(operators, "isend"):
        return
    sent, received = (
        operators.isend(ones(), other(), 5, name),
        operators.irecv(ones(), other(), 5, name),
    )
    funcol.wait_tensor(sent)
    funcol.wait_tensor(received)


@program
def sharded_tensors():
    mesh = init_device_mesh("cpu", (SIZE,))
    tensor = distribute_tensor(ones(8).view(4, 2), mesh, [Shard(0)])
    tensor.full_tensor()
    tensor.sum().full_tensor()
    DTensor.from_local(ones(8).view(4, 2), mesh, [Partial()]).redistribute(
        mesh, [Shard(0)]
    ).to_local().sum().item()


@program
def functional_in_inference_mode():
    with torch.inference_mode():
        funcol.all_reduce(ones(), "max", dist.group.WORLD).sum().item()


@program
def compiled():
    def f(x):
        return funcol.all_reduce(x * 2, "sum", dist.group.WORLD) + 1

    torch.compile(f, backend="aot_eager")(ones()).sum().item()


@program
def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        with suppress(RuntimeError):  # torch 2.9 knows none of these without data
            dist.all_reduce(ones())
        funcol.all_reduce(ones(), "sum", dist.group.WORLD)


@program
def ddp():
    model = DistributedDataParallel(torch.nn.Linear(4, 2))
    mark = ledger.last
    for _ in range(2):
        model(ones(4)).sum().backward()
    return mark


@program
def fsdp2():
    mesh = init_device_mesh("cpu", (SIZE,))
    model = fully_shard(torch.nn.Linear(4, 2), mesh=mesh)
    mark = ledger.last
    model(ones(4)).sum().backward()
    return mark


@program
def barriers():
    dist.barrier()
    dist.monitored_barrier()


@program
def subgroup():
    group = dist.new_group([0, 1])
    dist.all_reduce(ones(), group=group)
    dist.broadcast(ones(), src=1, group=group)


@program
def subgroup_of_one():
    group, _ = dist.new_subgroups(1)
    dist.broadcast(ones(), src=rank(), group=group)


@program
def thread():
    def run():
        dist.all_reduce(ones())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@program
def first_in_its_thread():
    thread = threading.Thread(target=dist.all_reduce, args=(ones(),))
    thread.start()
    thread.join()


@program
def coalesced():
    with dist._coalescing_manager(group=dist.group.WORLD):
        dist.all_reduce(ones(2))
        dist.all_reduce(ones(3))


@program
def coalesced_asynchronously():
    with dist._coalescing_manager(group=dist.group.WORLD, async_ops=True) as handles:
        dist.all_gather_into_tensor(ones(4), ones(2))
        dist.all_gather_into_tensor(ones(6), ones(3))
    handles.wait()


@program
def lists():
    pair = [ones(2), ones(2)]
    dist.reduce_scatter(ones(2), pair, op=dist.ReduceOp.MIN)
    dist.all_reduce_coalesced([ones(2), ones(3)], op=dist.ReduceOp.MAX)
    dist.all_gather_coalesced([[ones(2)], [ones(2)]], [ones(2)])


@program
def old_forms():
    group = dist.group.WORLD
    group.allreduce(ones(), dist.ReduceOp.MIN).wait()
    group.broadcast(ones(), root=1).wait()
    group.reduce(ones(), 1, dist.ReduceOp.MAX).wait()
    group.allreduce(tensors=[ones()]).wait()


@program
def of_a_persons_hook():
    seen = []
    group = dist.group.WORLD
    if hasattr(group, "register_pre_hook"):
        group.register_pre_hook(1, lambda *args: seen.append(args))
    dist.all_reduce(ones())
    if hasattr(group, "register_pre_hook"):
        group.unregister_pre_hook(1)
        assert len(seen) == 1


@program
def after_a_second_install():
    calls.install(ledger, [Interruptible])
    dist.all_reduce(ones())


@program
def on_a_destroyed_group():
    group = dist.new_group([0, 1])
    dist.destroy_process_group(group)
    with suppress(ValueError, RuntimeError):  # not every torch refuses
        dist.all_reduce(ones(), group=group)
    mark = ledger.last
    dist.all_reduce(ones())
    return mark


@program
def of_a_work_of_their_own():
    class Work(dist.Work):
        def wait(self, timeout=None):
            return True

    assert Work().wait()
    dist.all_reduce(ones())


@program
def a_wait_that_gives_up():
    if rank() == 0:
        work = dist.all_reduce(ones(), async_op=True)
        with suppress(RuntimeError):
            work.wait(timedelta(milliseconds=50))
            raise AssertionError("it did not give up")
        assert not ledger.present_waits()
        assert [call.op for call in ledger.open()] == ["all_reduce"]
        dist.send(ones(), dst=1)
        wait_until(lambda: not ledger.open(), 10)
    else:
        dist.recv(ones(), src=0)
        dist.all_reduce(ones())


@program
def in_a_forked_child():
    dist.all_reduce(ones())
    child = os.fork()
    if child == 0:
        is_empty = not ledger.last and not ledger.since()[0] and ledger.box is None
        # A rank's child may wait, too: its stand-ins tell the child's account.
        handle = _create_work_from_future(torch.futures.Future())
        threading.Thread(target=handle.wait, daemon=True).start()
        wait_until(lambda: [wait.kind for wait in ledger.present_waits().values()] == ["work"], 10)
        with suppress(RuntimeError):  # which would otherwise never return
            dist.all_reduce(ones())
            os._exit(2)
        os._exit(0 if is_empty and not ledger.since()[0] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ledger.box.path.exists()


@contextmanager
def watched(mark):
    """Note what the main thread is seen to wait for."""
    main, seen, done = threading.get_ident(), [], threading.Event()

    def watch():
        while not done.wait(0.002):
            if wait := ledger.present_waits().get(main):
                seen.append((wait.kind, wait.call and (wait.call.op, wait.call.number)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


WAITS = {
    "work": lambda: dist.all_reduce(ones()),
    "future": lambda: dist.all_reduce(ones(), async_op=True).get_future().wait(),
    "tensor": lambda: funcol.wait_tensor(funcol.all_reduce(ones(), "sum", dist.group.WORLD)),
    "recv": lambda: dist.recv(ones(), src=1, tag=11),
    "issue": dist.monitored_barrier,
    "store": dist.new_group,
}


def waits():
    """What rank 0 is seen to wait for while rank 1 comes late."""
    found = {}
    for name, begin in WAITS.items():
        dist.barrier()
        if rank() == 0:
            with watched(ledger.last) as seen:
                begin()
            found[name] = [*dict.fromkeys(seen)]
        else:
            let_pass(0.3)  # it is late
            dist.send(ones(), dst=0, tag=11) if name == "recv" else begin()
    return found


def hear_hooks(heard):
    """Have torch itself tell of each call in any group, where it can: from torch 2.14 on."""
    make = c10d._new_process_group_helper

    def hooked(*args, **kwargs):
        group, _ = made = make(*args, **kwargs)
        if hasattr(group, "register_pre_hook"):
            group.register_pre_hook(77, heard.append)
        return made

    c10d._new_process_group_helper = hooked


def main(directory):
    global ledger  # noqa: PLW0603 - the programs read it
    rank, heard = 0 if (child := os.fork()) else 1, []
    hear_hooks(heard)
    store = Interruptible(dist.FileStore(str(directory / "store"), SIZE), timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=SIZE)
    ledger = calls.Ledger(file=directory / f"{rank}.calls")
    calls.install(ledger, [Interruptible])
    said = {"programs": {}}
    for name, run in PROGRAMS.items():
        ledger.counts.cell = len(said["programs"])
        before, heard[:] = ledger.last, []
        mark = run() or before
        # What DDP has issued in C++ is known to be done a moment later.
        wait_until(lambda: all(call.failed for call in ledger.open()), 10, why=ledger.open)
        found, dropped = ledger.since(mark)
        assert not dropped
        said["programs"][name] = {
            "calls": [dataclasses.asdict(call) | {"said": str(call.place)} for call in found],
            "heard": len(heard),
            "issued": [call.op for call in ledger.since(before)[0]],
            "traffic": dataclasses.asdict(ledger.counts.traffic(ledger.counts.cell)),
        }
    said["waits"] = waits()
    dist.barrier()
    said["fingerprints"] = [dataclasses.asdict(one) for one in ledger.fingerprints()]
    (directory / f"{rank}.json").write_text(json.dumps(said))
    dist.destroy_process_group()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
