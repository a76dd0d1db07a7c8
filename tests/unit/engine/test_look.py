"""What a rank says of itself: torch's own recorder in a world of one, and made-up dumps."""

from __future__ import annotations

import datetime as dt
import linecache
import pickle
import threading
import time
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from processes import let_pass, wait_until
from steps import SOON

from rankbook import calls
from rankbook.engine.group.nccl import Streams
from rankbook.engine.looking import flight, frames
from rankbook.engine.looking import look as look_module
from rankbook.engine.looking.frames import Position
from rankbook.engine.looking.look import Observer
from rankbook.engine.looking.recorder import Recorder
from rankbook.engine.looking.stillness import Movement
from rankbook.models import Collective
from rankbook.models.calls import Call, Wait

MAIN = threading.main_thread().ident
CELL = "/ipykernel_7/1.py"
SETTLED = 0.1  # seconds of standing still that are enough for anything


@pytest.fixture
def world():
    """A real process group of one rank, in which nothing waits longer than a second."""
    second = dt.timedelta(seconds=1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=second)
    yield
    dist.destroy_process_group()


class Dump:
    """Takes the place of torch's recorder: it says the entries that it is given."""

    def __init__(self):
        self()

    def __call__(self, *entries):
        self.entries = [dict(entry, record_id=number) for number, entry in enumerate(entries)]

    def pickled(self, **_):
        return pickle.dumps({"version": "2.10", "entries": self.entries})

    def recorded(self, since_ns):
        return flight.recorded(Recorder(dump=self.pickled), since_ns)


@pytest.fixture
def dump():
    return Dump()


def entry(op, seq, group="0", *, created=1000, done=True, p2p=False, sizes=(), dtypes=()):
    return {
        "process_group": (group, "default_pg"),
        "pg_id": 0,
        "collective_seq_id": seq,
        "profiling_name": f"gloo:{op}",
        "time_created_ns": created,
        "input_sizes": [list(size) for size in sizes],
        "input_dtypes": list(dtypes),
        "retired": done,
        "is_p2p": p2p,
    }


def aside(call):
    """Make a call in another thread while this one, the main thread, stands still."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(call()))
    thread.start()
    thread.join()
    return seen[0]


def recorded(since_ns):
    return flight.recorded(Recorder(), since_ns)


def numbers(calls):
    return [(its.group, its.seq) for its in calls]


# -- the real recorder -----------------------------------------------------------------------


def test_collectives_are_recorded_with_their_tensors(world):
    began = time.time_ns()
    dist.all_reduce(torch.ones(2, 3))
    dist.broadcast(torch.ones(4, dtype=torch.int64), src=0)
    dist.barrier()
    first, second, third = recorded(began)
    assert 0 <= third.since <= first.since < 60
    assert (first.op, first.seq, first.sizes, first.dtypes) == (
        "all_reduce",
        1,
        ((2, 3),),
        ("float32",),
    )
    assert (second.op, second.seq, second.sizes, second.dtypes) == (
        "broadcast",
        2,
        ((4,),),
        ("int64",),
    )
    assert (third.op, third.seq) == ("barrier", 3)
    assert {its.group for its in (first, second, third)} == {str(dist.group.WORLD.group_name)}
    assert {its.ranks for its in (first, second, third)} == {(0,)}
    # torch retires them a moment after they have ended
    wait_until(lambda: all(its.done for its in recorded(began)), SOON)


def test_the_recorder_numbers_the_calls_of_each_group_separately(world):
    began = time.time_ns()
    group = dist.new_group([0])
    dist.all_reduce(torch.ones(1), group=group)
    dist.all_reduce(torch.ones(1))
    first, second = recorded(began)
    assert (first.group, first.seq) == (str(group.group_name), 1)
    assert (second.group, second.seq) == (str(dist.group.WORLD.group_name), 1)


def test_recorded_calls_from_before_the_present_group_are_left_out(world):
    dist.all_reduce(torch.ones(1))
    began = time.time_ns()
    dist.barrier()
    assert [its.op for its in recorded(began)] == ["barrier"]


def test_calls_of_an_earlier_group_of_the_same_name_are_left_out(world):
    began = time.time_ns()
    for _ in range(3):
        dist.all_reduce(torch.ones(1))
    dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    dist.barrier()
    [only] = recorded(began)
    assert (only.op, only.seq) == ("barrier", 1)


# -- made-up dumps ---------------------------------------------------------------------------


def test_an_empty_recorder_gives_no_calls(dump):
    assert dump.recorded(0) == ()


def test_recorded_calls_are_filtered_by_time_and_kind(dump):
    dump(
        entry("all_reduce", 1, created=10),
        entry("all_reduce", 2, created=20),
        entry("send", 0, created=30, p2p=True),
        entry("barrier", 3, created=40),
    )
    assert [its.seq for its in dump.recorded(0)] == [1, 2, 3]
    assert [its.seq for its in dump.recorded(20)] == [2, 3]
    assert dump.recorded(41) == ()


def test_of_groups_with_one_name_only_calls_of_the_latest_are_given(dump):
    dump(
        entry("all_reduce", 1),
        entry("all_reduce", 1, "1") | {"pg_id": 1},
        entry("all_reduce", 2),
        entry("barrier", 1, created=2000) | {"pg_id": 2},
        entry("broadcast", 2, created=2001) | {"pg_id": 2},
    )
    assert numbers(dump.recorded(0)) == [("1", 1), ("0", 1), ("0", 2)]
    assert [its.op for its in dump.recorded(0)] == ["all_reduce", "barrier", "broadcast"]


def test_the_recorder_forgets_groups_that_have_gone_when_there_are_very_many(dump):
    its = Recorder(dump=dump.pickled, most_names=10)
    for number in range(100):
        dump(entry("a", 1), entry("a", 2, created=1001) | {"pg_id": 9}, entry("b", 1, f"n{number}"))
        entries = its.entries()
        assert [its.nth(each, 0) for each in entries] == [1, 2, 1]
    known = [number for number in range(100) if its.latest(f"n{number}", 0)]
    assert known == [*range(90, 100)]
    assert its.latest("0", 0) == 2  # which is still used
    assert len(its._nth) <= 3
    assert its.names == {"0", "n99"}


def test_recorded_calls_of_several_groups_are_in_the_order_of_the_calls(dump):
    dump(entry("a", 1), entry("b", 1, "1"), entry("c", 2), entry("d", 2, "1"))
    assert [its.op for its in dump.recorded(0)] == ["a", "b", "c", "d"]


def test_recorded_calls_have_python_s_names_of_functions_and_dtypes(dump):
    dump(
        entry("all_gather", 1, sizes=[(2, 3), ()], dtypes=["Float", "Long"]),
        entry("all_reduce", 2, sizes=[(1,)], dtypes=["Float8_e5m2"]),
    )
    first, second = dump.recorded(0)
    assert (first.op, first.sizes, first.dtypes) == (
        "all_gather",
        ((2, 3), ()),
        ("float32", "int64"),
    )
    assert second.dtypes == ("float8_e5m2",)


def test_the_ranks_of_a_destroyed_group_are_unknown(dump):
    dump(entry("all_reduce", 1, "gone"))
    assert dump.recorded(0)[0].ranks == ()


@pytest.mark.parametrize(
    ("done", "kept"),
    [
        (40, range(24, 40)),
        (3, range(3)),
        (30, range(24, 40)),
        (5, range(5, 21)),
        (0, range(16)),
    ],
)
def test_a_look_has_the_latest_calls_or_those_from_the_first_open_one_on(dump, done, kept):
    total = 3 if done == 3 else 40
    dump(*(entry("all_reduce", seq, done=seq < done) for seq in range(total)))
    calls = dump.recorded(0)
    assert [its.seq for its in calls] == list(kept)
    assert [its.done for its in calls] == [seq < done for seq in kept]


def test_a_look_has_as_many_calls_of_every_group(dump):
    dump(*(entry("all_reduce", seq, str(group)) for seq in range(40) for group in range(2)))
    assert len(dump.recorded(0)) == 32


# -- what the rank does ----------------------------------------------------------------------


class Account(calls.Ledger):
    """Takes the ledger's place: what the rank has called, and what its main thread awaits."""

    def __init__(self):
        super().__init__()
        self.calls, self.wait, self.asked = (), None, 0

    def say(self, *calls):
        self.calls = calls

    def present_waits(self):
        return {MAIN: self.wait} if self.wait else {}

    def latest(self, since, kept):
        self.asked += 1
        return list(self.calls)


@pytest.fixture
def account():
    return Account()


def call(op, number, group="0", *, done=True, created=1_000, sizes=(), dtypes=(), **more):
    """A call, and whether it is open."""
    found = Call(
        number,
        op,
        "",
        group,
        (),
        0,
        number,
        shapes=sizes,
        dtypes=dtypes,
        issued=created / 1e9,
        **more,
    )
    return found, not done


def awaits(op, number, kind="work", **more):
    """A wait of the main thread for a call."""
    return Wait(kind, MAIN, time.time(), call(op, number, **more)[0])


@pytest.fixture
def silence():
    """How long the connections have been silent, as the observer is told."""
    return [None]


@pytest.fixture
def observer(silence, account):
    return Observer(account, Recorder(), lambda group: silence[0], Streams(dump=None))


@pytest.fixture
def at(monkeypatch):
    """Sets where the main thread stands, as far as its frames tell."""

    def stand(**facts):
        monkeypatch.setattr(frames, "position", lambda: Position(**facts))

    return stand


@pytest.fixture
def settled(observer):
    """Looks again and again until the main thread has stood still for long."""

    def look(doing="run", cell=7):
        seen = []

        def settle():
            def is_settled():
                seen.append(observer.look(doing, cell, 0, closely=True))
                return seen[-1].still > SETTLED

            wait_until(is_settled, SOON)
            return seen[-1]

        return aside(settle)

    return look


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


# -- at a glance -----------------------------------------------------------------------------


@pytest.fixture
def glance(observer, monkeypatch):
    """Looks without taking time for it."""

    def look(doing="run", cell=7):
        with monkeypatch.context() as patch:
            patch.setattr(look_module.time, "sleep", lambda _: pytest.fail("it took time"))
            return observer.look(doing, cell, 0, closely=False)

    return look


def test_a_glance_at_an_idle_rank_does_not_read_its_calls(account, at, glance):
    account.say(call("all_reduce", 3))
    at(in_loop=True)
    assert (glance("", None).state, glance("", None).recent) == ("idle", ())
    at(mark=((1, 1),))  # some callback
    assert glance("", None).state == "idle"
    assert account.asked == 0


def test_a_glance_sees_a_cell_of_another_client(account, at, glance):
    at(line="line 2: f(x)")
    look = glance("", None)
    assert (look.state, look.line, look.cell) == ("running", "line 2: f(x)", None)


def test_a_glance_sees_other_threads_in_a_collective(account, at, glance, monkeypatch):
    monkeypatch.setattr(frames, "other_threads_in_torch_distributed", lambda: True)
    at(in_loop=True)
    assert glance("", None).state == "running"


@pytest.mark.parametrize(
    ("facts", "waits"),
    [
        ({"call": "all_reduce"}, Collective("all_reduce")),
        ({"awaits": "work"}, Collective("wait")),
        ({"awaits": "p2p"}, Collective("wait")),
        ({"awaits": "future"}, None),
        ({}, None),
    ],
)
def test_a_glance_says_that_a_rank_waits_in_what_its_frames_say(account, at, glance, facts, waits):
    account.say(call("all_reduce", 5, done=False))
    at(line="line 2: f(x)", in_torch=True, **facts)
    look = glance()
    assert (look.waiting, look.state) == (waits, "waiting" if waits else "running")
    assert account.asked == 0


def test_glances_at_a_rank_that_stands_still_read_its_calls_once(observer, account, at, glance):
    """A handle of its own: its frames do not say of what."""
    account.say(call("all_reduce", 5, created=time.time_ns() - 3_000_000_000, done=False))
    at(line="line 2: work.wait()", in_torch=True, awaits="work", mark=((1, 2),))

    def watch():
        wait_until(lambda: glance().waiting.seq == 5, SOON)
        return glance(), glance(), account.asked, observer.look("run", 7, 0, closely=True)

    first, again, times, closely = aside(watch)
    assert times == 1
    assert 3 <= first.since < again.since < 3 + SOON
    assert first.since == first.waiting.since
    assert (again.state, again.line) == (closely.state, closely.line)
    assert (again.waiting.op, again.waiting.seq) == (closely.waiting.op, closely.waiting.seq)


def test_a_glance_reads_the_calls_again_after_the_rank_has_moved(observer, account, at, glance):
    at(line="line 2: work.wait()", in_torch=True, awaits="work", mark=((1, 2),))

    def watch():
        account.say(call("all_reduce", 5, done=False))
        wait_until(lambda: glance().waiting.seq == 5, SOON)
        account.say(call("barrier", 6, done=False))
        observer.forget()
        wait_until(lambda: glance().waiting.seq, SOON)
        return glance()

    assert aside(watch).waiting.op == "barrier"


# -- since when ------------------------------------------------------------------------------


def test_a_rank_in_python_has_waited_for_no_time(observer, at, account):
    at(line="line 2: f(x)")
    assert observer.look("run", 7, 0, closely=True).since == 0.0


def test_a_wait_that_is_not_announced_lasts_since_it_was_first_seen():
    movement = Movement()
    there, elsewhere = Position(mark=((1, 2),)), Position(mark=((1, 3),))
    assert movement.seen(there).here < 0.05
    wait_until(lambda: movement.seen(there).here > 0.05, SOON)
    assert movement.seen(elsewhere).here < 0.05
    movement.forget()
    assert movement.seen(elsewhere).here < 0.05


# -- asking again and again -------------------------------------------------------------------


def asks(**more):
    """What an account says of a main thread that has asked for two seconds."""
    wait = awaits("all_reduce", 3, kind="poll")
    return replace(wait, began=time.time() - 2, line="In [4] line 2", **more)


def test_a_rank_that_asks_again_and_again_waits_in_that_call(observer, at, account):
    at(line="In [4] line 3: time.sleep(1)")
    account.wait = asks()
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.line, look.polls) == ("waiting", "In [4] line 2", True)
    assert (look.waiting.op, look.waiting.seq) == ("all_reduce", 3)
    assert look.still == look.quiet >= 2


def test_a_rank_that_asks_in_a_loop_with_another_way_out_may_end_by_itself(observer, at, account):
    at(line="In [4] line 2")
    account.wait = asks(may_end=True)
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.may_end) == ("waiting", True)


def test_a_rank_whose_coroutine_asks_may_end_by_itself(observer, at, account):
    at(in_loop=True)
    account.wait = asks()
    assert observer.look("run", 7, 0, closely=True).may_end


def test_a_wait_with_a_short_timeout_of_its_own_ends_by_itself(settled, at, account):
    at(in_torch=True, awaits="work")
    account.wait = awaits("all_reduce", 3)
    assert not settled().may_end
    account.wait = replace(account.wait, may_end=True, timeout=8.0)
    look = settled()
    assert (look.state, look.may_end) == ("waiting", True)
    assert look.still > 0
    assert 0 < look.gives_up <= 8


# -- standing still --------------------------------------------------------------------------


def test_a_look_says_for_how_long_the_main_thread_has_stood_still(observer, at, account):
    at(line="line 2: f(x)", mark=((1, 2),))

    def watch():
        begin = time.monotonic()
        first = observer.look("run", 7, 0, closely=True).still
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still >= SETTLED, SOON)
        assert observer.look("run", 7, 0, closely=True).still <= time.monotonic() - begin
        return first

    assert aside(watch) == 0.0


def test_a_rank_that_begins_something_else_has_not_stood_still(observer, at, account):
    at(line="line 2: f(x)", mark=((1, 2),))

    def watch():
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still >= SETTLED, SOON)
        observer.forget()
        return observer.look("run", 8, 0, closely=True).still

    assert aside(watch) == 0.0


def test_a_main_thread_that_was_given_a_core_has_moved(observer, at, account):
    """Even if it stands at the same place again: a loop in C, say."""
    at(line="line 2: f(x)", mark=((1, 2),))
    let_pass(0.001)
    observer.look("run", 7, 0, closely=True)
    for _ in range(5):
        let_pass(0.001)
        assert observer.look("run", 7, 0, closely=True).still == 0.0


def test_a_process_in_which_no_thread_computes_is_quiet(observer, at, account):
    at()
    aside(
        lambda: wait_until(lambda: observer.look("run", 7, 0, closely=True).quiet > SETTLED, SOON)
    )


@pytest.mark.parametrize("known", [0.0, 0.3, 1e6, None])
def test_a_rank_that_waits_says_for_how_long_no_data_has_moved(
    observer, at, account, silence, known
):
    silence[0] = known
    look = waiting_look(observer, at)
    assert (look.state, look.silent) == ("waiting", known)


def waiting_look(observer, at):
    at(in_torch=True, awaits="work")
    looks = []
    aside(
        lambda: wait_until(
            lambda: looks.append(observer.look("run", 7, 0, closely=True)) or looks[-1].waiting,
            SOON,
        )
    )
    return looks[-1]


@pytest.fixture
def computing():
    """Another thread of this process uses a core all the time."""
    done = threading.Event()

    def compute():
        while not done.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    yield
    done.set()
    thread.join()


def still_for_half_a_second(observer):
    looks = []

    def watch():
        wait_until(
            lambda: looks.append(observer.look("run", 7, 0, closely=True)) or looks[-1].still > 0.5,
            SOON,
        )

    aside(watch)
    return looks[-1]


def test_a_process_in_which_another_thread_computes_is_not_quiet(observer, at, account, computing):
    at()
    look = still_for_half_a_second(observer)
    assert look.quiet < look.still / 2


def test_a_rank_that_waits_in_a_store_is_as_quiet_as_it_is_still(observer, at, account, computing):
    """That threads of its process use a core is no reason to think otherwise."""
    at(in_torch=True, in_store=True)
    look = still_for_half_a_second(observer)
    assert look.quiet == look.still


# -- threads of the cell ---------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    """Sets which threads run code of the person's, and whether each waits for another."""

    def are(**others):
        known = {int(name.removeprefix("t")): in_lock for name, in_lock in others.items()}
        monkeypatch.setattr(frames, "threads_of_the_person", lambda: known)

    return are


class InThread(Account):
    def present_waits(self):
        return {1: self.wait} if self.wait else {}


@pytest.fixture
def of_thread(silence):
    """An account in which thread 1 waits in all_reduce #5, and an observer of it."""
    account = InThread()
    account.wait = replace(awaits("all_reduce", 5), thread=1)
    return Observer(account, Recorder(), lambda group: silence[0], Streams(dump=None))


def settle(observer):
    def look():
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still > SETTLED, SOON)
        return observer.look("run", 7, 0, closely=True)

    return aside(look)


def test_a_rank_that_joins_a_thread_in_a_collective_waits_in_it(of_thread, at, threads):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False, t2=True)
    look = settle(of_thread)
    assert (look.state, look.waiting.op, look.waiting.seq) == ("waiting", "all_reduce", 5)
    assert look.in_thread
    assert look.line == "line 4: thread.join()"


def test_the_line_of_a_rank_that_waits_in_a_thread_is_the_threads(
    of_thread, at, threads, monkeypatch
):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False)
    monkeypatch.setattr(frames, "line_of", {1: "line 2: dist.all_reduce(x)"}.get)
    assert settle(of_thread).line == "line 2: dist.all_reduce(x)"


def test_what_a_cell_that_awaits_something_waits_in_is_not_proven(of_thread, at, threads):
    at(in_loop=True)
    threads(t1=False)
    looks = []

    def is_seen():
        looks.append(of_thread.look("run", 7, 0, closely=True))
        return looks[-1].waiting

    aside(lambda: wait_until(is_seen, SOON))
    look = looks[-1]
    assert (look.waiting.seq, look.in_thread, look.may_end) == (5, True, True)


def test_a_rank_of_which_another_thread_may_go_on_is_running(of_thread, at, threads):
    at(line="line 4: thread.join()", in_lock=True)
    threads(t1=False, t2=False)
    look = settle(of_thread)
    assert (look.state, look.in_thread) == ("running", False)


def test_a_rank_whose_main_thread_computes_is_running_whatever_a_thread_waits_in(
    of_thread, at, threads
):
    at(line="line 4: x @ y")
    threads(t1=False)
    assert settle(of_thread).state == "running"
