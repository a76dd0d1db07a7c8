"""What a rank says that it does."""

from __future__ import annotations

import linecache
import threading

import pytest
import torch
import torch.distributed as dist
from accounts import aside, awaits, call, numbers
from processes import wait_until
from steps import SOON

from rankbook import calls
from rankbook.engine.group.nccl import Streams
from rankbook.engine.looking import flight, frames
from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.look import Observer
from rankbook.engine.looking.recorder import Recorder
from rankbook.models import Collective

CELL = "/ipykernel_7/1.py"


def test_a_rank_in_its_event_loop_is_idle(observer, at, account):
    at(in_loop=True)
    account.say(call("all_reduce", 3))
    look = observer.look("", None, 0, closely=True)
    assert (look.state, look.line, look.cell, look.waiting) == ("idle", "", None, None)
    assert numbers(look.recent) == [("0", 3)]


def test_a_rank_whose_other_threads_are_in_a_collective_is_not_idle(
    observer, at, account, monkeypatch
):
    monkeypatch.setattr(frames, "other_threads_in_torch_distributed", lambda: True)
    at(in_loop=True)
    assert observer.look("", None, 0, closely=True).state == "running"


def test_a_rank_in_a_short_callback_is_idle(observer, account, monkeypatch):
    places = iter([Position(mark=((1, 1),)), Position(in_loop=True)])
    monkeypatch.setattr(frames, "position", lambda: next(places))
    assert observer.look("", None, 0, closely=True).state == "idle"


def test_a_rank_in_a_long_callback_is_running(observer, at, account):
    at(mark=((1, 1),))
    assert observer.look("", None, 0, closely=True).state == "running"


def test_a_rank_whose_cell_awaits_is_running(observer, at, account):
    at(in_loop=True)
    assert observer.look("run", 7, 0, closely=True).state == "running"


def test_the_line_of_a_rank_without_a_cell_is_its_operation(observer, at, account):
    at()
    assert observer.look("initialize", None, 0, closely=True).line == "initialize"
    assert observer.look("run", 7, 0, closely=True).line == ""
    at(line="line 2: f(x)")
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.line, look.cell) == ("running", "line 2: f(x)", 7)


def test_a_rank_in_python_is_running_and_its_calls_are_not_read(observer, at, account):
    at(line="line 2: f(x)")
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.recent, account.asked) == ("running", (), 0)


def test_a_rank_in_recv_waits_in_the_call_of_its_account(world, monkeypatch):
    ledger = calls.Ledger()
    observer = Observer(ledger, Recorder(), lambda group: None, Streams(dump=None))
    calls.install(ledger)
    source = "def cell():\n    dist.recv(torch.ones(2, 3))\n"
    lines = source.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, CELL, (len(source), None, lines, CELL))
    names = {"dist": dist, "torch": torch}
    exec(compile(source, CELL, "exec"), names)  # noqa: S102
    looks = []

    def watch():
        def waits():
            looks.append(observer.look("run", 7, 0, closely=True))
            return looks[-1].waiting

        wait_until(waits, SOON)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with pytest.raises(RuntimeError, match="recv"):
        names["cell"]()  # it ends with the group's timeout
    watcher.join()
    calls.remove()
    look = looks[-1]
    world_group = str(dist.group.WORLD.group_name)
    assert look.waiting == Collective(
        "recv",
        world_group,
        (0,),
        1,
        ((2, 3),),
        ("float32",),
        tag=0,
        since=look.waiting.since,
        line=look.waiting.line,
    )
    assert look.waiting.line.endswith("line 2")
    assert (look.state, look.line) == ("waiting", "a cell line 2: dist.recv(torch.ones(2, 3))")


def test_where_nothing_is_announced_a_rank_waits_in_the_call_that_is_open(settled, at, account):
    at(line="line 2: f(x)", call="all_reduce", in_torch=True)
    account.say(
        call("all_reduce", 4), call("all_reduce", 5, done=False, sizes=((2,),), dtypes=("float16",))
    )
    look = settled()
    assert look.state == "waiting"
    waits = look.waiting
    assert (waits.op, waits.seq, waits.sizes, waits.dtypes, waits.done) == (
        "all_reduce",
        5,
        ((2,),),
        ("float16",),
        False,
    )
    assert numbers(look.recent) == [("0", 4), ("0", 5)]


def test_a_rank_waits_in_the_first_of_several_open_calls(settled, at, account):
    at(call="all_reduce", in_torch=True)
    account.say(call("all_gather", 5, done=False), call("all_reduce", 6, done=False))
    assert settled().waiting.seq == 5


def test_a_rank_waits_in_what_it_has_announced_whatever_else_is_open(settled, account, at):
    at(call="all_reduce", in_torch=True)
    account.say(call("all_reduce", 5, done=False), call("broadcast", 1, "3", done=False))
    account.wait = awaits("broadcast", 1, group="3", root=2)
    waits = settled().waiting
    assert (numbers([waits]), waits.peer) == ([("3", 1)], 2)


@pytest.mark.parametrize("kind", ["work", "future", "tensor", "issue"])
def test_a_wait_of_any_kind_is_for_its_call(settled, account, at, kind):
    at(line="line 2: f(x)")
    account.wait = awaits("monitored_barrier", 7, kind)
    look = settled()
    assert (look.state, look.waiting.op, look.waiting.seq) == ("waiting", "monitored_barrier", 7)


def test_a_send_has_its_peer_and_its_tag(settled, account, at):
    at(call="send", in_torch=True)
    account.wait = awaits("send", 3, peer=1, tag=9)
    waits = settled().waiting
    assert (waits.op, waits.seq, waits.peer, waits.tag) == ("send", 3, 1, 9)


def test_an_open_send_is_not_what_a_rank_waits_in_where_nothing_is_announced(settled, account, at):
    at(call="all_reduce", in_torch=True)
    account.say(call("send", 1, done=False, peer=1), call("all_reduce", 6, done=False))
    assert numbers([settled().waiting]) == [("0", 6)]


def test_a_call_on_a_stream_is_not_open_for_the_account(settled, account, at):
    at(line="line 2: f(x)", in_torch=True)
    account.say(call("all_reduce", 6, done=False, stream_ordered=True))
    assert settled().state == "running"


def test_the_peer_within_a_group_is_given_as_a_global_rank(
    settled, world, at, account, monkeypatch
):
    group = dist.new_group([0])
    monkeypatch.setitem(flight.c10d._world.pg_group_ranks, group, {4: 0, 6: 1})
    at(
        call="recv",
        arguments={"tensor": torch.ones(1), "group": group, "group_src": 1},
        in_torch=True,
    )
    waits = settled().waiting
    assert (waits.op, waits.ranks, waits.peer) == ("recv", (4, 6), 6)


def test_a_rank_that_stands_still_waits_in_a_call_that_is_not_recorded(settled, world, at, account):
    at(call="new_group", arguments={"ranks": [0]}, in_torch=True)
    waits = settled().waiting
    assert (waits.op, waits.seq, waits.sizes) == ("new_group", None, ())


def test_a_rank_that_makes_a_group_waits_in_init_process_group(settled, at, account):
    at(call="init_process_group", arguments={"group": "x"}, in_torch=True)
    assert settled().waiting == Collective("init_process_group")


def test_a_look_gives_the_world_size_of_a_default_group_that_is_being_made(
    settled, at, account, monkeypatch
):
    at(call="init_process_group", arguments={"world_size": 3}, in_torch=True)
    assert settled().waiting.ranks == (0, 1, 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    at(call="init_process_group", arguments={"world_size": -1}, in_torch=True)
    assert settled().waiting.ranks == (0, 1)


def test_a_rank_that_waits_for_an_unknown_handle_is_in_a_wait(settled, at, account):
    at(line="line 2: work.wait()", in_torch=True, awaits="work")
    account.say(call("all_reduce", 4))
    assert settled().waiting == Collective("wait")


@pytest.mark.parametrize("awaits", ["", "work", "future"])
def test_a_rank_that_waits_for_a_handle_is_in_the_recorded_call(settled, at, account, awaits):
    at(line="line 2: work.wait()", in_torch=True, awaits=awaits)
    account.say(call("all_reduce", 4, done=False))
    assert settled().waiting.seq == 4


def test_a_rank_that_waits_for_a_send_is_not_in_an_open_collective(settled, at, account):
    at(line="line 2: work.wait()", in_torch=True, awaits="p2p")
    account.say(call("all_reduce", 4, done=False))
    assert settled().waiting == Collective("wait")


def test_a_rank_in_recv_is_in_recv_however_it_waits(settled, world, at, account):
    at(call="recv", arguments={"src": 0}, in_torch=True, awaits="p2p")
    assert (settled().waiting.op, settled().waiting.peer) == ("recv", 0)


def test_a_rank_that_waits_for_an_unknown_future_is_running(settled, at, account):
    at(line="line 2: future.wait()", in_torch=True, awaits="future")
    account.say(call("all_reduce", 4))
    assert settled().state == "running"


def test_a_rank_in_another_function_of_torch_is_running(settled, at, account):
    at(line="line 2: x @ y", in_torch=True)
    assert settled().state == "running"


def test_a_rank_whose_main_thread_moves_is_running(observer, account, monkeypatch):
    moves = iter(range(1000))
    monkeypatch.setattr(
        frames,
        "position",
        lambda: Position("line 2: work.wait()", in_torch=True, mark=((1, next(moves)),)),
    )
    looks = aside(lambda: [observer.look("run", 7, 0, closely=True) for _ in range(5)])
    assert {look.state for look in looks} == {"running"}
    assert {look.still for look in looks} == {0.0}
