"""Cells that cannot end: explained, freed, and nothing lost."""

from __future__ import annotations

import signal
import threading
import time
from random import Random

import psutil
import pytest
from ipyparallel import RemoteError
from kinds import KINDS
from watching import ENOUGH, left_alone, looks
from world import World, until

from rankbook.errors import HangError, SessionError, StuckError

pytestmark = pytest.mark.usefixtures("eager", "whole_afterwards")

SOON = 20.0


@pytest.fixture(scope="module")
def world():
    world = World(4, seed=1)
    yield world
    world.close()


def interrupted(world, code, *there):
    """Interrupt a cell once each rank is seen where ``there`` says, in the order of the ranks."""

    def are_there():
        done = world.session.diagnose().per_rank
        return all(place in done[rank] for rank, place in enumerate(there))

    running = world.in_background(lambda: world.session.run(code, on_hang="wait"))
    assert until(are_there, SOON) < SOON, world.session.diagnose().per_rank
    world.session.interrupt()
    assert running.join(SOON)
    return running.value


PROVEN = [name for name, kind in KINDS.items() if kind(Random(0), 4).proven]
SLOW = [name for name in KINDS if name not in PROVEN]


@pytest.mark.parametrize("name", PROVEN)
def test_a_hang_is_explained_and_freed_without_a_command(world, name):
    hang = KINDS[name](Random(name), 4)
    generation = world.session.generation
    running = world.in_background(lambda: world.session.run(hang.code))
    assert running.join(SOON), "it was not freed"
    result = running.value
    assert result.diagnosis is not None, running.error or result
    assert (result.diagnosis.kind, set(result.diagnosis.ranks)) == (hang.verdict, hang.culprits)
    assert hang.operation in result.diagnosis.summary
    assert set(result.diagnosis.per_rank) == {0, 1, 2, 3}
    assert not result.ok
    assert world.session.generation == generation + 1
    with pytest.raises(HangError) as caught:
        result.raise_for_error()
    assert result.diagnosis.summary in str(caught.value)
    assert "variables in place" in str(caught.value)


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_rank_is_left_alone_until_an_interrupt(world, name):
    hang = KINDS[name](Random(name), 4)
    with looks() as seen:
        running = world.in_background(lambda: world.session.run(hang.code))

        def are_seen():
            slow = [(its.kind, set(its.ranks)) == ("slow", hang.culprits) for its in seen]
            return slow.count(True) >= ENOUGH or running.join(0)

        assert until(are_seen, SOON) < SOON, seen
    assert not any(its.proven for its in seen)
    assert not running.join(0), "the watch has touched it"
    assert world.session.interrupt()
    assert running.join(SOON)
    assert {error.ename for r in running.value.values() if (error := r.error)} == {
        "KeyboardInterrupt"
    }


def test_only_the_rank_that_raised_shows_a_traceback(world):
    result = world.session.run("if rank == 2: 1 / 0\ndist.barrier()")
    with pytest.raises(HangError) as caught:
        result.raise_for_error()
    shown = "\n".join(caught.value._render_traceback_())
    assert shown.count("Traceback (most recent call last)") == 1
    assert shown.index("ZeroDivisionError") < shown.index("HangError")
    assert "KeyboardInterrupt" not in shown
    assert "ranks 0-1,3  waited in barrier" in shown


def test_ranks_outside_the_hang_go_on(world, tmp_path):
    freed = tmp_path / "freed"
    code = (
        "import time\nfrom pathlib import Path\n"
        "if rank == 0:\n"
        "    try: dist.recv(torch.ones(1), 1)\n"
        f"    finally: Path({str(freed)!r}).touch()\n"
        "if rank == 3:\n"
        f"    while not Path({str(freed)!r}).exists(): time.sleep(0.01)\n"
        "done = True"
    )
    result = world.session.run(code, timeout=SOON)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (1,))
    assert [rank for rank in result if not result[rank].ok] == [0]  # the others were left alone


@pytest.mark.parametrize("way", ["1 / 0", "pass"], ids=["raise", "end"])
def test_ranks_that_end_like_the_cause_only_after_others_were_freed_are_named_too(
    world, tmp_path, way
):
    freed = tmp_path / "freed"
    code = (
        "import time\nfrom pathlib import Path\n"
        "if rank == 3:\n"
        "    try: dist.barrier()\n"
        f"    finally: Path({str(freed)!r}).touch()\n"
        "if rank in (1, 2):\n"
        f"    while not Path({str(freed)!r}).exists(): time.sleep(0.01)\n"
        f"{way}"
    )
    result = world.session.run(code, timeout=SOON)
    kind = {"1 / 0": "raised", "pass": "missing_rank"}[way]
    assert (result.diagnosis.kind, result.diagnosis.ranks) == (kind, (0, 1, 2))
    assert result.diagnosis.stuck == (3,)


def test_a_collective_of_all_ranks_in_a_cell_on_some_is_explained_and_freed(world):
    result = world.session.run("dist.barrier()", ranks="0,2")
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (1, 3))
    assert "ran no cell" in result.diagnosis.summary


def test_a_hang_beside_many_groups_is_proven_and_freed(world):
    """That the wait is none of data on its way is seen of processes that hardly compute."""
    world.session.run("groups = [dist.new_group() for _ in range(16)]").raise_for_error()
    code = "if rank == 0: dist.irecv(torch.zeros(2), src=1).wait()"
    running = world.in_background(lambda: world.session.run(code))
    assert running.join(SOON), "it was not freed"
    assert running.value.diagnosis.proven


def test_cut_groups_leave_no_threads_and_sockets(world):
    """Tracebacks of what was cut must not hold the groups."""
    engines = [psutil.Process(pid) for pid in world.pids]

    def held():
        return [(process.num_threads(), process.num_fds()) for process in engines]

    world.session.initialize()
    before = held()
    for _ in range(3):
        world.session.run("if rank: dist.new_group()")

    def tidy():
        # What the last traceback holds stays: Python itself keeps it, for a debugger.
        return all(
            threads <= was[0] + 4 and files <= was[1] + 8
            for (threads, files), was in zip(held(), before, strict=True)
        )

    assert until(tidy, SOON) < SOON, (before, held())


def test_an_object_that_ends_slowly_holds_up_no_cell_after_a_hang(world, tmp_path):
    """As a DataLoader does, of which a sample has raised: it waits for its workers."""
    begun, ends = tmp_path / "begun", tmp_path / "ends"
    world.session.run(
        "from pathlib import Path\nimport time\n"
        "class Slow:\n"
        "    def __del__(self):\n"
        f"        Path({str(begun)!r}).touch()\n"
        f"        while not Path({str(ends)!r}).exists(): time.sleep(0.01)\n"
        "if rank == 0:\n"
        "    import gc\n"
        "    gc.disable()\n"  # Python itself would end it, at any moment
        "    slow = Slow()\n"
        "    slow.itself = slow\n"
        "    del slow\n"
    )
    try:
        world.session.run("if rank: dist.barrier()")
        assert until(begun.exists, SOON) < SOON
        running = world.in_background(lambda: world.session.run("dist.barrier()"))
        assert running.join(SOON), "it waits for what ends"
        running.value.raise_for_error()
    finally:
        ends.touch()
        world.session.run("import gc; gc.enable()")


def test_ranks_are_idle_and_stay_idle_after_their_group_was_re_created(world):
    """What an engine clears away behind a former group is not taken for work."""
    for _ in range(3):
        world.session.run("if rank: dist.barrier()")
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert world.session.diagnose().summary == "Every rank is idle."


def test_a_group_that_reached_its_timeout_is_re_created(world):
    world.session.initialize(timeout_minutes=0.01)
    result = world.session.run("if rank: dist.barrier()", on_hang="wait")
    assert result.diagnosis.kind == "missing_rank"
    assert "longer than the group's timeout of 0.01 min" in result.note
    world.session.initialize(timeout_minutes=1)


def test_waiting_for_a_lock_or_a_process_is_no_hang(world, tmp_path):
    sign = tmp_path / "sign"
    code = (
        "import os, threading, time\n"
        f"def come():\n    while not os.path.exists({str(sign)!r}): time.sleep(0.01)\n"
        "if rank == 0:\n"
        "    os.wait() if os.fork() else (come(), os._exit(0))\n"
        "if rank == 1:\n"
        "    lock = threading.Event()\n"
        "    threading.Thread(target=lambda: (come(), lock.set())).start()\n"
        "    lock.wait(60)"
    )
    left_alone(world.session, sign, code, enough=3)


def test_on_hang_report_prints_the_verdict_and_waits(world):
    notes = []

    class Output:
        def event(self, rank, body): ...
        def finish(self): ...
        def pause(self, running):
            return 1.0

        def note(self, text):
            notes.append(text)

    with looks() as seen:
        running = world.in_background(
            lambda: world.session.run("if rank: dist.barrier()", on_hang="report", output=Output())
        )
        assert until(lambda: bool(notes), SOON) < SOON
        assert "Rank 0 never called barrier" in notes[0]
        enough = len(seen) + ENOUGH
        assert until(lambda: len(seen) >= enough, SOON) < SOON
    assert not running.join(0)
    world.session.interrupt()
    assert running.join(SOON)
    assert len(notes) == 1


def test_two_interrupts_at_once_leave_a_group_that_works(world):
    running = world.in_background(
        lambda: world.session.run("if rank: dist.barrier()", on_hang="wait")
    )
    until(lambda: world.session.diagnose().kind == "missing_rank", SOON)
    answers = [world.in_background(world.session.interrupt) for _ in range(2)]
    assert all(answer.join(SOON) for answer in answers)
    assert any(answer.value for answer in answers)
    assert [answer.error for answer in answers] == [None, None]
    assert running.join(SOON)


def test_repeated_interrupts_leave_a_group_that_works(world):
    """A press while the group is made again must not leave the ranks without one."""
    for _ in range(3):
        running = world.in_background(
            lambda: world.session.run("if rank: dist.barrier()", on_hang="wait")
        )
        until(lambda: world.session.diagnose().kind == "missing_rank", SOON)
        while not running.join(0):
            world.session.interrupt()
        assert "the process group was re-created" in running.value.note


def test_an_interrupt_while_nothing_runs_does_nothing(world):
    assert world.session.interrupt() is False


def test_a_rank_that_goes_on_after_an_interrupt_is_named_and_not_replaced(world):
    code = (
        "import time\n"
        "release = False\n"
        "while rank == 1 and not release:\n"
        "    try:\n"
        "        time.sleep(0.1)\n"
        "    except KeyboardInterrupt:\n"
        "        stubborn = globals().get('stubborn', 0) + 1\n"
        "        release = stubborn > 6"
    )
    running = world.in_background(lambda: world.session.run(code))
    until(lambda: world.session.diagnose().per_rank[1].startswith("runs cell "), SOON)
    with pytest.raises(StuckError, match=r"rank 1 is at cell \d+ line"):
        world.session.interrupt()
    world.session.interrupt()
    assert running.join(SOON)


def test_ctrl_c_in_the_waiting_thread_ends_the_cell(world):
    main = threading.main_thread()

    def press():
        until(lambda: world.session.diagnose().kind == "missing_rank", SOON)
        signal.pthread_kill(main.ident, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    result = world.session.run("if rank: dist.barrier()", on_hang="wait")
    thread.join()
    assert result.diagnosis.kind == "missing_rank"
    assert {r.error.ename for rank, r in result.items() if rank} == {"KeyboardInterrupt"}


def test_code_of_another_client_fails_as_usual_after_a_hang(world):
    world.session.run("if rank: dist.barrier()")
    failed = world.session.pool.launcher.client[:].execute(
        "raise RuntimeError('mine')", silent=False
    )
    with pytest.raises(RemoteError, match="mine"):
        failed.get(SOON)
    # What IPython has shown: the reply to the client does not depend on it.
    result = world.session.run("import sys\nsys.last_value")
    assert {its.result_repr for its in result.values()} == {"RuntimeError('mine')"}


def test_collectives_in_step_make_no_new_group(world):
    generation = world.session.generation
    assert not world.session.run("dist.barrier()\nraise ValueError").ok
    assert world.session.generation == generation


def test_ranks_out_of_step_make_a_new_group(world):
    """Rank 0 has sent its broadcast without waiting; the others have not called it."""
    generation = world.session.generation
    code = "if rank == 0: dist.broadcast(torch.ones(1), 0)\nraise ValueError('all fail')"
    assert not world.session.run(code).ok
    assert world.session.generation == generation + 1


def test_an_interrupted_collective_is_not_mixed_up_with_the_next_one(world):
    """Only Python was interrupted: rank 0 has begun a collective that the others have not."""
    code = (
        "import time\nstale = torch.full((2,), 1000.)\n"
        "if rank == 0: handle = dist.all_reduce(stale, async_op=True)\ntime.sleep(100)"
    )
    generation = world.session.generation
    result = interrupted(world, code, *["time.sleep(100)"] * 4)
    assert {its.error.ename for its in result.values()} == {"KeyboardInterrupt"}
    assert world.session.generation == generation + 1
    result = world.session.run("one = torch.ones(2)\ndist.all_reduce(one)\none.tolist()")
    assert {its.result_repr for its in result.values()} == {"[4.0, 4.0]"}


def test_a_socket_of_user_code_is_no_connection_of_a_group(world):
    """A logger's, say: it is connected, and no stream."""
    code = (
        "import socket\nlogger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "logger.connect(('127.0.0.1', 9))\nif rank: dist.barrier()"
    )
    result = world.session.run(code)
    assert (result.diagnosis.kind, result.diagnosis.ranks) == ("missing_rank", (0,))
    world.session.run("logger.close()").raise_for_error()


def test_traffic_in_another_group_does_not_keep_ranks_from_being_freed(world):
    code = (
        "import datetime, threading\n"
        # Gloo does not wake a thread whose message was cut in two; this, by default half an hour.
        "other = dist.new_group(timeout=datetime.timedelta(seconds=10))\n"
        "quits = threading.Event()\n"
        "def beat():\n"
        "    try:\n"
        "        while not quits.wait(0.02): dist.all_reduce(torch.ones(1), group=other)\n"
        "    except RuntimeError: pass\n"  # its connections are cut as well
        "thread = threading.Thread(target=beat)\nthread.start()"
    )
    world.session.run(code).raise_for_error()
    code = "if rank: dist.all_reduce(torch.ones(1))"
    result = interrupted(world, code, "", *["all_reduce"] * 3)
    assert {its.error.ename for rank, its in result.items() if rank} == {"KeyboardInterrupt"}
    # The threads of some ranks may have stopped before another one's last call: that hangs.
    code = "quits.set()\nthread.join(20)\nassert not thread.is_alive()\nother = None"
    world.session.run(code, on_hang="wait").raise_for_error()


def test_an_error_of_user_code_about_connections_keeps_the_group(world):
    generation = world.session.generation
    for words in ("database: connection refused", "Timed out waiting for the lock of a file"):
        result = world.session.run(f"if rank == 0: raise RuntimeError({words!r})")
        assert (result[0].error.evalue, result.note) == (words, "")
    assert world.session.generation == generation


def test_an_error_raised_after_an_interrupt_is_reported_unchanged(world):
    code = (
        "import time\ntry: time.sleep(100)\nexcept KeyboardInterrupt: pass\n"
        "raise RuntimeError('out of memory')"
    )
    result = interrupted(world, code, *["time.sleep(100)"] * 4)
    assert {(r.error.ename, r.error.evalue) for r in result.values()} == {
        ("RuntimeError", "out of memory")
    }


def test_a_cut_group_is_re_created_once_its_stuck_rank_lets_go(world):
    """Rank 0 does not let go at first, so the group that was cut is not made again."""
    code = (
        "import time\nstubborn = 0\n"
        "if rank: dist.barrier()\n"
        "while rank == 0 and stubborn < 5:\n"
        "    try: time.sleep(0.1 + 60 * (stubborn < 4))\n"
        "    except KeyboardInterrupt: stubborn += 1"
    )
    generation = world.session.generation
    with pytest.raises(StuckError, match=r"rank 0 is at cell \d+ line"):
        world.session.run(code, timeout=2)
    cut = r"cut, and rank 0 is at cell \d+ line .*interrupt again"
    with pytest.raises(SessionError, match=cut):
        world.session.run("1")
    until(lambda: world.session.interrupt() and world.session.states()[0].state == "idle", SOON)
    result = world.session.run("dist.barrier()")
    assert result.ok
    assert world.session.generation == generation + 1


def test_a_second_ctrl_c_while_the_group_is_re_created_is_ignored(world):
    """It is pressed until something happens; the verdict is not lost, and there is a group."""
    generation = world.session.generation
    main, over = threading.main_thread(), threading.Event()

    def press():
        until(lambda: world.session.diagnose().kind == "missing_rank", SOON)
        signal.pthread_kill(main.ident, signal.SIGINT)
        while not over.wait(0.02):
            if world.session.generation != generation:  # it is being made
                signal.pthread_kill(main.ident, signal.SIGINT)
                return

    thread = threading.Thread(target=press)
    thread.start()
    try:
        result = world.session.run("if rank: dist.barrier()", on_hang="wait")
    finally:
        over.set()
        thread.join()
    assert result.diagnosis.kind == "missing_rank"
    assert "the process group was re-created" in result.note
    assert world.session.run("dist.barrier()").ok
