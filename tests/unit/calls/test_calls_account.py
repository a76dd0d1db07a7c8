"""The account of one process: places, fingerprints, the ring, the file of the last calls."""

from __future__ import annotations

import gc
import os
import stat
import threading
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from rankbook import calls, lastcalls
from rankbook.calls import Ledger, kernels, methods
from rankbook.calls.groups import Groups
from rankbook.calls.records import to_call
from rankbook.calls.taps import FUNCTIONAL, METHODS, OPS
from rankbook.cellnames import file_of
from rankbook.models.calls import Place, Slot


@pytest.fixture
def world():
    """A group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.fixture
def ledger(world, tmp_path):
    """An account that is told of everything."""
    ledger = Ledger(kept=8, file=tmp_path / "calls")
    calls.install(ledger)
    yield ledger
    calls.remove()


def ones():
    return torch.ones(4)


def latest(ledger, count):
    """The latest calls, those that torch has refused, too."""
    ledger.settle()
    return [to_call(record) for record in ledger._records][-count:]


def test_the_reduce_operation_of_a_call_from_cpp_is_named(world):
    ledger = Ledger()
    kernels.install(ledger)  # alone, as if DDP's reducer had issued these
    try:
        for op in (dist.ReduceOp.MAX, dist.ReduceOp.SUM, dist.ReduceOp.MAX):
            dist.all_reduce(ones(), op)
        found = [call.reduce_op for call in latest(ledger, 3)]
    finally:
        kernels.remove()
    is_told = torch.__version__.split(".")[:2] != ["2", "9"]
    assert found == (["max", "sum", "max"] if is_told else ["", "", ""])


def test_a_group_in_which_a_call_has_failed_under_way_is_known(world, ledger):
    with pytest.raises(RuntimeError, match="invalid root"):
        dist.broadcast(ones(), src=5)
    assert not ledger.groups.have_failed(ledger.generation), (
        "torch has refused it, and nothing was under way"
    )
    ledger.not_issued(ledger.issue(world, "monitored_barrier", ()), RuntimeError("too long"))
    assert ledger.groups.have_failed(ledger.generation)
    ledger.generation = 1
    assert not ledger.groups.have_failed(ledger.generation), (
        "the next generation has its own connections"
    )


def test_a_function_of_a_future_that_fails_is_no_failure_of_the_group(world, ledger):
    def fails(future):
        raise ValueError("of the function")

    future = dist.all_reduce(ones(), async_op=True).get_future().then(fails)
    with pytest.raises((RuntimeError, ValueError), match="of the function"):
        future.wait()
    assert not ledger.groups.have_failed(ledger.generation)


def test_a_wait_that_fails_leaves_a_group_that_has_failed(world, ledger):
    record = ledger.issue(world, "all_reduce", (ones(),))
    ledger.ended(record, failed=True)
    assert ledger.groups.have_failed(ledger.generation)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place("/home/me/train.py", 6, "step"), "train.py:6 in step"),
        (Place("train.py", 6), "train.py:6"),
        (Place("In [4]", 2, is_cell=True), "In [4] line 2"),
        (Place("In [4]", 2, "step", is_cell=True), "In [4] line 2"),
    ],
)
def test_a_place_is_said_in_few_words(place, text):
    assert str(place) == text


def in_a_cell(source, filename):
    """Run a cell's code, as IPython does: under the name of a file."""
    exec(compile(source, filename, "exec"), {"dist": dist, "torch": torch, "ones": ones})  # noqa: S102


def test_a_cells_line_is_reported_under_its_name(ledger):
    in_a_cell("\ndist.all_reduce(ones())", file_of("In [4]"))
    [call] = latest(ledger, 1)
    assert str(call.place) == "In [4] line 2"
    assert call.called_from is None


def test_the_cell_that_led_to_a_files_line_is_reported_too(ledger):
    def step():
        dist.all_reduce(ones())

    code = compile("\n\nstep()", file_of("In [5]"), "exec")
    exec(code, {"step": step})  # noqa: S102
    [call] = latest(ledger, 1)
    assert str(call.place).startswith("test_calls_account.py:")
    assert str(call.place).endswith(" in step")
    assert str(call.called_from) == "In [5] line 3"


def test_each_line_of_a_loop_is_distinguished(ledger):
    in_a_cell(
        "for _ in range(2):\n    dist.barrier()\n    dist.all_reduce(ones())", "<ipython-input-3>"
    )
    assert [call.place.line for call in latest(ledger, 4)] == [2, 3, 2, 3]


@pytest.mark.parametrize(
    "other",
    [
        lambda: dist.all_reduce(ones(), dist.ReduceOp.MAX),
        lambda: dist.all_reduce(ones().double()),
        lambda: dist.all_reduce(torch.ones(5)),
        lambda: dist.broadcast(ones(), src=0),
    ],
    ids=["reduce operation", "dtype", "size", "operation"],
)
def test_two_calls_differ_if_anything_that_must_agree_differs(world, ledger, other):
    dist.all_reduce(ones())
    [first] = ledger.fingerprints()
    ledger.generation = 1
    dist.all_reduce(ones())
    [same] = ledger.fingerprints()
    assert (same.count, same.hashes) == (first.count, first.hashes)
    ledger.generation = 2
    other()
    [another] = ledger.fingerprints()
    assert another.hashes != first.hashes


def test_sizes_that_may_differ_leave_the_fingerprint_alone(world, ledger):
    found = []
    for generation, size in enumerate((2, 4)):
        ledger.generation = generation
        dist.all_to_all_single(torch.ones(size), torch.ones(size))
        [fingerprint] = ledger.fingerprints()
        found.append(fingerprint.hashes)
    assert found[0] == found[1]


def test_a_new_generation_counts_from_one(ledger):
    dist.barrier()
    dist.barrier()
    ledger.generation = 1
    dist.barrier()
    assert [(call.generation, call.number) for call in latest(ledger, 3)] == [
        (0, 1),
        (0, 2),
        (1, 1),
    ]


def test_the_ring_is_bounded_and_says_what_it_dropped(ledger):
    for _ in range(20):
        dist.barrier()
    found, dropped = ledger.since(5)
    assert [call.id for call in found] == list(range(13, 21))
    assert dropped == 7
    assert ledger.since(20) == ([], 0)
    assert ledger.since(12)[1] == 0


def test_an_asynchronous_call_is_open_until_it_is_waited_for(ledger):
    work = dist.barrier(async_op=True)
    [record] = latest(ledger, 1)
    assert record.returned is not None
    work.wait()
    assert ledger.open() == []
    assert latest(ledger, 1)[0].completed is not None


def test_a_call_that_torch_refuses_has_failed(ledger):
    with pytest.raises((RuntimeError, ValueError)):
        dist.group.WORLD.allreduce([torch.ones(2), torch.ones(3)]).wait()
    [call] = latest(ledger, 1)
    assert call.failed
    assert not ledger.present_waits()


def refused():
    with pytest.raises((RuntimeError, ValueError)):
        dist.group.WORLD.scatter([torch.zeros(1)], [[torch.ones(1)] * 3])


def test_the_next_call_takes_the_number_of_one_that_torch_refuses(ledger):
    dist.barrier()
    refused()
    dist.barrier()
    assert [(call.op, call.number) for call in latest(ledger, 3)] == [
        ("barrier", 1),
        ("scatter", 0),
        ("barrier", 2),
    ]
    assert [call.number for call, _ in ledger.latest(0, 8)] == [1, 2]
    assert [call.number for call in ledger.since()[0]] == [1, 2]


def test_a_call_that_torch_refuses_is_not_compared_with_other_ranks(world, ledger):
    dist.barrier()
    [plain] = ledger.fingerprints()
    ledger.generation = 1
    refused()
    dist.barrier()
    [other] = ledger.fingerprints()
    assert (other.count, other.hashes) == (plain.count, plain.hashes)
    assert ledger.counts.traffic(None).calls == 2


def test_the_next_send_takes_the_number_of_one_that_torch_refuses(ledger):
    with pytest.raises((RuntimeError, ValueError)):
        dist.group.WORLD.send([torch.ones(1)], 0, -1)
    assert ledger.since() == ([], 0)
    [group] = ledger.groups.by_id.values()
    assert group.next_of_pair("send", 0, -1) == 1


@pytest.mark.parametrize(
    ("peer", "tag", "error"),
    [
        (1.0, 0, TypeError),
        ("1", 0, TypeError),
        (None, 0, TypeError),
        (0, 1.5, TypeError),
        (-1, 0, ValueError),
        (2**40, 0, ValueError),
    ],
)
def test_what_is_no_rank_or_tag_is_refused_as_without_an_account(tmp_path, world, peer, tag, error):
    calls.install(calls.Ledger(file=tmp_path / "calls"))
    words = "incompatible function arguments" if error is TypeError else "there is no such rank"
    try:
        with pytest.raises(error, match=words):
            dist.group.WORLD.send([torch.ones(1)], peer, tag)
    finally:
        calls.remove()


def test_a_call_that_an_interrupt_ends_keeps_its_number(ledger, monkeypatch):
    monkeypatch.setattr(methods, "aside", interrupted)
    monkeypatch.setattr(methods, "quickly_aside", interrupted)
    calls.install(ledger)
    with pytest.raises(KeyboardInterrupt):
        dist.barrier()
    assert latest(ledger, 1)[0].number == 1


def interrupted():
    raise KeyboardInterrupt


def test_an_account_takes_the_place_of_another(ledger):
    dist.barrier()
    other = Ledger()
    calls.install(other)
    dist.barrier()
    assert (ledger.last, other.last) == (1, 1)
    assert calls.installed() is other


def test_traffic_is_summed_up_by_cell(ledger):
    for cell in (1, 2):
        ledger.counts.cell = cell
        for _ in range(cell):
            dist.all_reduce(ones())
    assert (ledger.counts.traffic(1).calls, ledger.counts.traffic(1).nbytes) == (1, 16)
    assert (ledger.counts.traffic(2).calls, ledger.counts.traffic(2).nbytes) == (2, 32)
    assert ledger.counts.traffic(2).waiting > 0
    assert ledger.counts.traffic(3).calls == 0


def test_calls_of_many_threads_have_each_a_number(world):
    ledger = Ledger()
    calls.install(ledger)
    threads = [
        threading.Thread(target=lambda: [dist.barrier() for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls.remove()
    found, _ = ledger.since()
    assert [call.id for call in found] == list(range(1, 201))
    assert sorted(call.number for call in found) == list(range(1, 201))
    [fingerprint] = ledger.fingerprints()
    assert fingerprint.count == 200
    assert ledger.fingerprints() == ()


def test_the_file_of_the_last_calls_is_read_as_it_was_written(ledger):
    def step():
        dist.all_reduce(ones(), dist.ReduceOp.MIN)
        dist.broadcast(ones(), src=0)

    ledger.counts.cell = 3
    step()
    last = lastcalls.read(ledger.box.path)
    assert last.pid == os.getpid()
    assert [
        replace(call, ranks=(0,), thread=0, nbytes=0, returned=None, key="0") for call in last.calls
    ] == [
        replace(call, thread=0, nbytes=0, returned=None, awaited=None) for call in latest(ledger, 2)
    ]


def test_the_file_keeps_the_latest_calls_of_many(ledger):
    for _ in range(100):
        dist.barrier()
    numbers = [call.number for call in lastcalls.read(ledger.box.path).calls]
    assert numbers == list(range(37, 101))


def test_what_made_the_group_is_not_among_the_last_calls(ledger):
    dist.barrier()
    ledger.count_again()
    assert lastcalls.read(ledger.box.path).calls == ()
    dist.all_reduce(ones())
    [call] = lastcalls.read(ledger.box.path).calls
    assert (call.op, call.number) == ("all_reduce", 1)


def test_the_file_says_which_call_is_waited_for(ledger):
    work = dist.barrier(async_op=True)
    record = ledger.handles.record_of(work)
    outer = ledger.waits.begin("work", record)
    assert lastcalls.read(ledger.box.path).awaited == record.id
    ledger.waits.end(outer)
    work.wait()
    assert lastcalls.read(ledger.box.path).awaited is None


def test_only_its_owner_can_read_the_file_of_last_calls(ledger):
    assert stat.S_IMODE(ledger.box.path.stat().st_mode) == 0o600


def test_a_closed_file_is_gone(tmp_path):
    ledger = Ledger(file=tmp_path / "calls")
    ledger.box.close()
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize("content", [None, b"", b"rankbook calls 1", b"x" * 60_000])
def test_a_file_that_does_not_hold_last_calls_is_not_read(tmp_path, content):
    file = tmp_path / "calls"
    if content is not None:
        file.write_bytes(content)
    assert lastcalls.read(file) is None


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"symbolic|levels"):
        Ledger(file=tmp_path / "link")


@pytest.mark.parametrize(
    ("table", "owner"),
    [(OPS, torch.ops.c10d), (FUNCTIONAL, torch.ops._c10d_functional)],
    ids=["c10d", "functional"],
)
def test_each_operator_in_the_tables_has_its_group_where_they_say(table, owner):
    for name, tap in table.items():
        if not hasattr(owner, name):  # of a newer torch
            continue
        schema = getattr(owner, name).default._schema
        names = [argument.name for argument in schema.arguments]
        assert names[tap.group] in {"process_group", "group_name"}, name
        for position, expected in (
            (tap.reduces, {"reduce_op"}),
            (tap.root, {"root_rank", "src"}),
            (tap.peer, {"src", "dst"}),
            (tap.tag, {"tag"}),
        ):
            assert position is None or names[position] in expected, name


def test_every_operator_of_torchs_is_in_the_tables():
    named = {
        name.removeprefix("c10d::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("c10d::")
    }
    assert named - set(OPS) <= {"check_for_nan"}


def test_every_method_that_gives_a_work_is_in_the_table():
    gives = {
        name
        for name, method in vars(dist.ProcessGroup).items()
        if "-> c10d::Work" in (getattr(method, "__doc__", None) or "")
    }
    assert gives - set(METHODS) <= {"_end_coalescing", "reconfigure"}


def test_our_frames_are_told_from_others(ledger):
    assert calls.is_ours(vars(dist.ProcessGroup)["allreduce"].__code__)
    assert calls.is_ours(vars(dist.Work)["wait"].__code__)
    assert not calls.is_ours(ones.__code__)


def test_a_wait_whose_end_was_not_announced_is_no_wait(ledger):
    """An interrupt may come where nothing can be announced any more."""
    ledger.waits.begin("work")
    assert ledger.present_waits() == {}
    dist.barrier()
    assert ledger.present_waits() == {}


def test_calls_of_a_destroyed_group_are_not_the_latest_of_its_successor():
    """They have the same name and the same numbers."""
    ledger = Ledger()
    calls.install(ledger)
    for _ in range(2):
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        before = [call.number for call, _ in ledger.latest(0, 16)]
        dist.barrier()
        after = [call.number for call, _ in ledger.latest(0, 16)]
        dist.destroy_process_group()
        gc.collect()
        assert (before, after) == ([], [1])
    calls.remove()


def test_calls_can_be_counted_from_1_again(world):
    """A rank that is new has not called what the others have; from then on they agree."""
    ledger = Ledger()
    calls.install(ledger)
    dist.barrier()
    dist.barrier()
    ledger.count_again()
    dist.barrier()
    calls.remove()
    found, _ = ledger.since()
    assert [call.number for call in found] == [1, 2, 1]


def test_when_a_thread_first_waits_for_a_call_is_kept(world, ledger):
    record = ledger.issue(world, "all_reduce", [ones()])
    assert to_call(record).awaited is None
    ledger.waits.end(ledger.waits.begin("work", record))
    first = to_call(record).awaited
    assert first >= to_call(record).issued
    ledger.waits.end(ledger.waits.begin("work", record))
    assert to_call(record).awaited == first
    ledger.ended(record)


def test_a_wait_that_fails_is_reported_though_others_looked_while_it_ended(ledger):
    """The account settles what is done; a call that a thread waits for is that thread's to tell."""
    work = dist.all_reduce(ones(), async_op=True)
    work.wait()
    record = ledger._records[-1]
    record.completed = 0  # as it is while the wait is about to end
    ledger.handles.add(work, record)
    outer = ledger.waits.begin("work", record)
    ledger.settle()
    assert not record.completed
    ledger.waits.end(outer)
    ledger.ended(record, failed=True)
    assert to_call(record).failed


def test_groups_are_compared_by_name_and_members(world):
    def made(*groups):
        its = Groups()
        its.begin("0", (0, 1, 2), "", is_default=True)
        for name, ranks in groups:
            its.begin(name, ranks, "train.py:3", is_default=False)
            its.end(made=True)
        [found] = its.made_by_all(1) or [None]
        return found and found.hashes

    assert made(("1", (0, 1))) == made(("1", (0, 1)))
    assert made(("1", (0, 1))) != made(("1", (0, 2)))
    assert made(("1", (0, 1))) != made(("2", (0, 1)))
    # Its name is a hash of its members where these alone make it.
    assert made(("9af3", (0, 1))) is None
    # Each rank may have a group of its own.
    assert made(("1", (0,))) == made(("1", (2,)))


def test_a_group_that_was_made_is_reported_by_its_number():
    groups = Groups()
    groups.begin("0", (0, 1, 2), "", is_default=True)
    groups.begin("1", (0, 1), "", is_default=False)  # nobody called it: an engine heals a group
    groups.end(made=True)
    groups.begin("2", (1, 2), "train.py:3", is_default=False)
    groups.end(made=True)
    [one] = groups.made_by_all(1)
    assert (one.count, one.ranks) == (1, (0, 1, 2))
    making = groups.making(Slot(one.group, one.ranks, 1, 1))
    assert (making.name, making.ranks, making.line) == ("2", (1, 2), "train.py:3")
    assert groups.making(Slot(one.group, one.ranks, 1, 2)) is None
    assert groups.made_by_all(1) == ()
