"""What a rank says of itself: torch's own recorder in a world of one, and made-up dumps."""

from __future__ import annotations

import datetime as dt
import linecache
import pickle
import threading
import time

import pytest
import torch
import torch.distributed as dist
from processes import wait_until
from steps import SOON

from rankbook.engine import flight, frames, recorder
from rankbook.engine import look as look_module
from rankbook.engine.frames import Position
from rankbook.engine.look import Observer
from rankbook.engine.nccl import Streams
from rankbook.engine.recorder import Recorder
from rankbook.engine.stillness import Movement
from rankbook.models import Collective

CELL = "/ipykernel_7/1.py"
SETTLED = 0.1  # seconds of standing still that are enough for anything


@pytest.fixture
def world():
    """A real process group of one rank, in which nothing waits longer than a second."""
    second = dt.timedelta(seconds=1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1, timeout=second)
    yield
    dist.destroy_process_group()


@pytest.fixture
def dump(monkeypatch):
    """Takes the recorder's place: has it say the entries that it is given."""

    def say(*entries):
        numbered = [dict(entry, record_id=number) for number, entry in enumerate(entries)]
        pickled = pickle.dumps({"version": "2.10", "entries": numbered})
        monkeypatch.setattr(recorder, "_dump_fr_trace", lambda **_: say.asked.append(1) or pickled)

    say.asked = []
    say()
    return say


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


def test_every_group_counts_for_itself(world):
    began = time.time_ns()
    group = dist.new_group([0])
    dist.all_reduce(torch.ones(1), group=group)
    dist.all_reduce(torch.ones(1))
    first, second = recorded(began)
    assert (first.group, first.seq) == (str(group.group_name), 1)
    assert (second.group, second.seq) == (str(dist.group.WORLD.group_name), 1)


def test_what_was_recorded_before_the_group_began_is_left_out(world):
    dist.all_reduce(torch.ones(1))
    began = time.time_ns()
    dist.barrier()
    assert [its.op for its in recorded(began)] == ["barrier"]


def test_a_group_that_a_cell_has_made_anew_under_the_same_name_is_told_from_the_old_one(world):
    began = time.time_ns()
    for _ in range(3):
        dist.all_reduce(torch.ones(1))
    dist.destroy_process_group()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    dist.barrier()
    [only] = recorded(began)
    assert (only.op, only.seq) == ("barrier", 1)


# -- made-up dumps ---------------------------------------------------------------------------


def test_nothing_recorded_is_nothing(dump):
    assert recorded(0) == ()


def test_entries_are_filtered_by_time_and_kind(dump):
    dump(
        entry("all_reduce", 1, created=10),
        entry("all_reduce", 2, created=20),
        entry("send", 0, created=30, p2p=True),
        entry("barrier", 3, created=40),
    )
    assert [its.seq for its in recorded(0)] == [1, 2, 3]
    assert [its.seq for its in recorded(20)] == [2, 3]
    assert recorded(41) == ()


def test_of_groups_of_one_name_the_latest_is_told_of(dump):
    dump(
        entry("all_reduce", 1),
        entry("all_reduce", 1, "1") | {"pg_id": 1},
        entry("all_reduce", 2),
        entry("barrier", 1, created=2000) | {"pg_id": 2},
        entry("broadcast", 2, created=2001) | {"pg_id": 2},
    )
    assert numbers(recorded(0)) == [("1", 1), ("0", 1), ("0", 2)]
    assert [its.op for its in recorded(0)] == ["all_reduce", "barrier", "broadcast"]


def test_of_very_many_groups_those_that_have_gone_are_forgotten(dump, monkeypatch):
    monkeypatch.setattr(recorder, "_NAMES", 10)
    its = Recorder()
    for number in range(100):
        dump(entry("a", 1), entry("a", 2, created=1001) | {"pg_id": 9}, entry("b", 1, f"n{number}"))
        entries = its.entries()
        assert [its.nth(each, 0) for each in entries] == [1, 2, 1]
    assert len(its._made) == 11  # those, and the one that is still used
    assert len(its._nth) <= 3
    assert its.names == {"0", "n99"}


def test_groups_stand_in_the_order_of_their_calls(dump):
    dump(entry("a", 1), entry("b", 1, "1"), entry("c", 2), entry("d", 2, "1"))
    assert [its.op for its in recorded(0)] == ["a", "b", "c", "d"]


def test_names_are_those_of_python(dump):
    dump(
        entry("all_gather", 1, sizes=[(2, 3), ()], dtypes=["Float", "Long"]),
        entry("all_reduce", 2, sizes=[(1,)], dtypes=["Float8_e5m2"]),
    )
    first, second = recorded(0)
    assert (first.op, first.sizes, first.dtypes) == (
        "all_gather",
        ((2, 3), ()),
        ("float32", "int64"),
    )
    assert second.dtypes == ("float8_e5m2",)


def test_of_a_group_that_has_gone_the_ranks_are_not_known(dump):
    dump(entry("all_reduce", 1, "gone"))
    assert recorded(0)[0].ranks == ()


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
def test_the_latest_are_kept_or_those_from_the_first_that_is_open(dump, done, kept):
    total = 3 if done == 3 else 40
    dump(*(entry("all_reduce", seq, done=seq < done) for seq in range(total)))
    calls = recorded(0)
    assert [its.seq for its in calls] == list(kept)
    assert [its.done for its in calls] == [seq < done for seq in kept]


def test_so_many_are_kept_of_every_group(dump):
    dump(*(entry("all_reduce", seq, str(group)) for seq in range(40) for group in range(2)))
    assert len(recorded(0)) == 32


# -- what the rank does ----------------------------------------------------------------------


@pytest.fixture
def silence():
    """How long the connections have been silent, as the observer is told."""
    return [None]


@pytest.fixture
def observer(silence):
    return Observer(Recorder(), lambda group: silence[0], Streams(dump=None))


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


def test_a_rank_that_waits_for_something_to_do_is_idle(observer, at, dump):
    at(in_loop=True)
    dump(entry("all_reduce", 3))
    look = observer.look("", None, 0, closely=True)
    assert (look.state, look.line, look.cell, look.waiting) == ("idle", "", None, None)
    assert numbers(look.recent) == [("0", 3)]


def test_a_rank_whose_other_threads_are_in_a_collective_is_not_idle(
    observer, at, dump, monkeypatch
):
    monkeypatch.setattr(frames, "other_threads_in_torch_distributed", lambda: True)
    at(in_loop=True)
    assert observer.look("", None, 0, closely=True).state == "running"


def test_a_callback_that_passes_between_cells_does_not_count(observer, dump, monkeypatch):
    places = iter([Position(mark=((1, 1),)), Position(in_loop=True)])
    monkeypatch.setattr(frames, "position", lambda: next(places))
    assert observer.look("", None, 0, closely=True).state == "idle"


def test_one_that_lasts_does(observer, at, dump):
    at(mark=((1, 1),))
    assert observer.look("", None, 0, closely=True).state == "running"


def test_a_cell_that_awaits_is_running(observer, at, dump):
    at(in_loop=True)
    assert observer.look("run", 7, 0, closely=True).state == "running"


def test_what_it_does_for_a_session_is_told_where_no_cell_is(observer, at, dump):
    at()
    assert observer.look("initialize", None, 0, closely=True).line == "initialize"
    assert observer.look("run", 7, 0, closely=True).line == ""
    at(line="line 2: f(x)")
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.line, look.cell) == ("running", "line 2: f(x)", 7)


def test_python_is_running_and_not_asked_for_what_it_has_called(observer, at, dump, monkeypatch):
    monkeypatch.setattr(recorder, "_dump_fr_trace", lambda **_: pytest.fail("it was asked"))
    at(line="line 2: f(x)")
    look = observer.look("run", 7, 0, closely=True)
    assert (look.state, look.recent) == ("running", ())


def test_a_real_recv_is_seen_from_its_arguments(observer, world, monkeypatch):
    source = "def cell():\n    dist.recv(torch.ones(2, 3))\n"
    lines = source.splitlines(keepends=True)
    monkeypatch.setitem(linecache.cache, CELL, (len(source), None, lines, CELL))
    names = {"dist": dist, "torch": torch}
    exec(compile(source, CELL, "exec"), names)  # noqa: S102
    looks = []
    began = time.time_ns()

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
    look = looks[-1]
    world_group = str(dist.group.WORLD.group_name)
    assert look.waiting == Collective("recv", world_group, (0,), None, ((2, 3),), ("float32",))
    assert (look.state, look.line) == ("waiting", "line 2: dist.recv(torch.ones(2, 3))")
    assert recorded(began) == ()


def test_a_call_that_the_recorder_has_open_is_what_it_waits_in(settled, at, dump):
    at(line="line 2: f(x)", call="all_reduce", in_torch=True)
    dump(entry("all_reduce", 4), entry("all_reduce", 5, done=False, sizes=[(2,)], dtypes=["Half"]))
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


def test_of_several_that_are_open_it_waits_in_the_first(settled, at, dump):
    at(call="all_reduce", in_torch=True)
    dump(entry("all_gather", 5, done=False), entry("all_reduce", 6, done=False))
    assert settled().waiting.seq == 5


def test_it_waits_in_the_group_that_it_has_called(settled, world, at, dump):
    group = dist.new_group([0])
    name = str(group.group_name)
    at(call="all_reduce", arguments={"group": group}, in_torch=True)
    dump(entry("all_reduce", 5, done=False), entry("all_reduce", 1, name, done=False))
    assert numbers([settled().waiting]) == [(name, 1)]


@pytest.mark.parametrize(
    ("given", "peer"),
    [
        ({"src": 2}, 2),
        ({"dst": 3, "group": None}, 3),
        ({"src": None, "group_src": 0}, 0),
        ({"group_dst": 5}, 5),
        ({}, None),
    ],
)
def test_the_root_is_known_from_the_arguments(settled, world, at, dump, given, peer):
    at(call="broadcast", arguments=given, in_torch=True)
    dump(entry("broadcast", 5, done=False))
    assert settled().waiting.peer == peer


def test_of_an_earlier_call_the_root_is_not_known(settled, world, at, dump):
    """The arguments on the stack are those of the latest."""
    at(call="broadcast", arguments={"src": 2}, in_torch=True)
    dump(entry("reduce", 5, done=False), entry("broadcast", 6, done=False))
    assert settled().waiting.peer is None


def test_a_rank_of_a_group_is_told_as_one_of_the_world(settled, world, at, dump, monkeypatch):
    group = dist.new_group([0])
    monkeypatch.setitem(flight.c10d._world.pg_group_ranks, group, {4: 0, 6: 1})
    at(
        call="recv",
        arguments={"tensor": torch.ones(1), "group": group, "group_src": 1},
        in_torch=True,
    )
    waits = settled().waiting
    assert (waits.op, waits.ranks, waits.peer) == ("recv", (4, 6), 6)


def test_where_torch_checks_collectives_it_asks_the_arguments(
    settled, world, at, dump, monkeypatch
):
    monkeypatch.setattr(flight, "get_debug_level", lambda: flight.DebugLevel.DETAIL)
    at(
        call="all_gather",
        arguments={"tensor_list": [torch.ones(3)], "tensor": torch.ones(2, dtype=torch.bool)},
        in_torch=True,
    )
    dump(entry("all_reduce", 5, done=False))
    waits = settled().waiting
    assert (waits.op, waits.seq, waits.sizes, waits.dtypes) == (
        "all_gather",
        None,
        ((2,),),
        ("bool",),
    )


def test_a_call_that_is_not_recorded_is_what_it_waits_in_once_it_stands_still(
    settled, world, at, dump
):
    at(call="new_group", arguments={"ranks": [0]}, in_torch=True)
    waits = settled().waiting
    assert (waits.op, waits.seq, waits.sizes) == ("new_group", None, ())


def test_in_a_group_that_is_only_being_made_little_is_known(settled, at, dump):
    at(call="init_process_group", arguments={"group": "x"}, in_torch=True)
    assert settled().waiting == Collective("init_process_group")


def test_a_handle_of_which_no_more_is_known_is_a_wait(settled, at, dump):
    at(line="line 2: work.wait()", in_torch=True, awaits="work")
    dump(entry("all_reduce", 4))
    assert settled().waiting == Collective("wait")


@pytest.mark.parametrize("awaits", ["", "work", "future"])
def test_a_handle_of_a_call_that_is_recorded_is_that_call(settled, at, dump, awaits):
    at(line="line 2: work.wait()", in_torch=True, awaits=awaits)
    dump(entry("all_reduce", 4, done=False))
    assert settled().waiting.seq == 4


def test_a_send_that_is_waited_for_is_no_collective_that_is_open_beside_it(settled, at, dump):
    at(line="line 2: work.wait()", in_torch=True, awaits="p2p")
    dump(entry("all_reduce", 4, done=False))
    assert settled().waiting == Collective("wait")


def test_what_is_called_by_name_is_known_however_it_waits(settled, world, at, dump):
    at(call="recv", arguments={"src": 0}, in_torch=True, awaits="p2p")
    assert (settled().waiting.op, settled().waiting.peer) == ("recv", 0)


def test_a_future_of_which_nothing_is_known_may_be_a_thread_s_that_computes(settled, at, dump):
    at(line="line 2: future.wait()", in_torch=True, awaits="future")
    dump(entry("all_reduce", 4))
    assert settled().state == "running"


def test_something_else_in_torch_is_no_wait(settled, at, dump):
    at(line="line 2: x @ y", in_torch=True)
    assert settled().state == "running"


def test_a_thread_that_moves_does_not_wait(observer, dump, monkeypatch):
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


def test_at_a_glance_an_idle_rank_is_idle_and_not_asked_for_its_calls(dump, at, glance):
    dump(entry("all_reduce", 3))
    at(in_loop=True)
    assert (glance("", None).state, glance("", None).recent) == ("idle", ())
    at(mark=((1, 1),))  # some callback
    assert glance("", None).state == "idle"
    assert dump.asked == []


def test_at_a_glance_the_cell_of_another_client_is_seen(dump, at, glance):
    at(line="line 2: f(x)")
    look = glance("", None)
    assert (look.state, look.line, look.cell) == ("running", "line 2: f(x)", None)


def test_at_a_glance_other_threads_count_too(dump, at, glance, monkeypatch):
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
def test_at_a_glance_a_rank_waits_in_what_its_frames_say(dump, at, glance, facts, waits):
    dump(entry("all_reduce", 5, done=False))
    at(line="line 2: f(x)", in_torch=True, **facts)
    look = glance()
    assert (look.waiting, look.state) == (waits, "waiting" if waits else "running")
    assert dump.asked == []


def test_a_rank_that_stands_is_asked_once_what_it_waits_in(observer, dump, at, glance):
    """A handle of its own: its frames do not say of what."""
    dump(entry("all_reduce", 5, created=time.time_ns() - 3_000_000_000, done=False))
    at(line="line 2: work.wait()", in_torch=True, awaits="work", mark=((1, 2),))

    def watch():
        wait_until(lambda: glance().waiting.seq == 5, SOON)
        return glance(), glance(), len(dump.asked), observer.look("run", 7, 0, closely=True)

    first, again, times, closely = aside(watch)
    assert times == 1
    assert 3 <= first.since < again.since < 3 + SOON
    assert first.since == first.waiting.since
    assert (again.state, again.line) == (closely.state, closely.line)
    assert (again.waiting.op, again.waiting.seq) == (closely.waiting.op, closely.waiting.seq)


def test_what_a_rank_has_waited_in_before_it_moved_does_not_count(observer, dump, at, glance):
    at(line="line 2: work.wait()", in_torch=True, awaits="work", mark=((1, 2),))

    def watch():
        dump(entry("all_reduce", 5, done=False))
        wait_until(lambda: glance().waiting.seq == 5, SOON)
        dump(entry("barrier", 6, done=False))
        observer.forget()
        wait_until(lambda: glance().waiting.seq, SOON)
        return glance()

    assert aside(watch).waiting.op == "barrier"


# -- since when ------------------------------------------------------------------------------


def test_a_rank_that_runs_python_waits_since_never(observer, at, dump):
    at(line="line 2: f(x)")
    assert observer.look("run", 7, 0, closely=True).since == 0.0


def test_what_is_not_waited_for_in_python_lasts_since_it_was_seen_at_its_place():
    movement = Movement()
    there, elsewhere = Position(mark=((1, 2),)), Position(mark=((1, 3),))
    assert movement.seen(there).here < 0.05
    wait_until(lambda: movement.seen(there).here > 0.05, SOON)
    assert movement.seen(elsewhere).here < 0.05
    movement.forget()
    assert movement.seen(elsewhere).here < 0.05


# -- standing still --------------------------------------------------------------------------


def test_it_is_known_since_when_the_main_thread_stands_still(observer, at, dump):
    at(line="line 2: f(x)", mark=((1, 2),))

    def watch():
        begin = time.monotonic()
        first = observer.look("run", 7, 0, closely=True).still
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still >= SETTLED, SOON)
        assert observer.look("run", 7, 0, closely=True).still <= time.monotonic() - begin
        return first

    assert aside(watch) == 0.0


def test_what_was_seen_is_forgotten_before_something_else_is_done(observer, at, dump):
    at(line="line 2: f(x)", mark=((1, 2),))

    def watch():
        wait_until(lambda: observer.look("run", 7, 0, closely=True).still >= SETTLED, SOON)
        observer.forget()
        return observer.look("run", 8, 0, closely=True).still

    assert aside(watch) == 0.0


def test_a_main_thread_that_was_given_a_core_has_moved(observer, at, dump):
    """Even if it stands at the same place again: a loop in C, say."""
    at(line="line 2: f(x)", mark=((1, 2),))
    time.sleep(0.001)
    observer.look("run", 7, 0, closely=True)
    for _ in range(5):
        time.sleep(0.001)
        assert observer.look("run", 7, 0, closely=True).still == 0.0


def test_a_process_in_which_no_thread_computes_is_quiet(observer, at, dump):
    at()
    aside(
        lambda: wait_until(lambda: observer.look("run", 7, 0, closely=True).quiet > SETTLED, SOON)
    )


@pytest.mark.parametrize("known", [0.0, 0.3, 1e6, None])
def test_a_rank_that_waits_says_how_long_nothing_has_come(observer, at, dump, silence, known):
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


def test_a_process_in_which_another_thread_computes_is_not_quiet(observer, at, dump, computing):
    at()
    look = still_for_half_a_second(observer)
    assert look.quiet < look.still / 2


def test_nothing_is_on_its_way_to_a_rank_that_waits_in_a_store(observer, at, dump, computing):
    """That threads of its process use a core is no reason to think otherwise."""
    at(in_torch=True, in_store=True)
    look = still_for_half_a_second(observer)
    assert look.quiet == look.still
