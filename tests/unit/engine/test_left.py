"""What a script has left behind."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from processes import wait_until

from rankbook.engine.cells.left import Left, are_strangers

# Threads end with SystemExit, of which Python says nothing.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def test_a_process_that_has_ended_does_not_count_though_nobody_has_waited_for_it():
    before = Left()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert str(before.since()) == "1 process"
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert str(before.since()) == ""


@pytest.mark.parametrize(("name", "may_come"), [("pt_data_worker", False), ("other", True)])
def test_workers_of_a_loader_come_to_no_meeting(tmp_path, name, may_come):
    program = shutil.copy(shutil.which("sleep"), tmp_path / name)
    assert not are_strangers()
    with subprocess.Popen([program, "60"]) as process:
        try:
            wait_until(lambda: psutil.Process(process.pid).name() == name)
            assert are_strangers() == may_come
        finally:
            process.kill()


def test_what_a_process_of_before_starts_does_not_count():
    code = "import subprocess; subprocess.run(['sleep', '60'], input=b'')"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        before = Left(processes={psutil.Process(process.pid)})
        try:
            wait_until(lambda: psutil.Process(process.pid).children())
            assert str(before.since()) == ""
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_threads_are_waited_for_that_python_waits_for():
    before, told, pool = Left(), threading.Event(), ThreadPoolExecutor(1)
    began, said = time.monotonic(), []
    threading.Thread(target=told.wait, daemon=True).start()
    pool.submit(said.append, "pool").result()  # its thread stays, and has no work
    begun, done = threading.Event(), threading.Event()
    slow = pool.submit(lambda: (begun.set(), done.wait(5)))
    slow.add_done_callback(lambda _: said.append("slow"))
    assert begun.wait(5)
    threading.Timer(0.1, lambda: (said.append("timer"), done.set())).start()
    before.wait()
    assert sorted(said) == ["pool", "slow", "timer"]
    assert time.monotonic() - began < 1.5
    told.set()
    pool.shutdown()


def test_a_pool_without_work_ends_with_its_executor_and_logs_nothing(caplog):
    before, pool = Left(), ThreadPoolExecutor(1)
    pool.submit(abs, -1).result()
    left = before.since()
    (thread,) = left.threads
    before.wait()  # until it has no work
    left.end_threads()
    assert thread.is_alive()
    del pool
    thread.join(5)
    assert not thread.is_alive()
    assert not caplog.records


@pytest.mark.parametrize(
    "wait",
    [
        lambda: queue.Queue().get(),
        lambda: queue.Queue().get(timeout=60),
        threading.Event().wait,
        threading.Semaphore(0).acquire,
        threading.Barrier(2).wait,
    ],
    ids=["queue", "queue with a timeout", "event", "semaphore", "barrier"],
)
def test_a_thread_that_waits_for_a_condition_is_ended(wait):
    before = Left()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    wait_until(lambda: sys._current_frames()[thread.ident].f_code.co_name == "wait")
    left = before.since()
    left.end()
    assert not thread.is_alive()
    assert str(left) == ""


def test_a_thread_that_cannot_be_ended_is_named():
    before, waits, named = Left(), queue.SimpleQueue(), queue.SimpleQueue()

    class Loader(threading.Thread):
        def run(self):
            waits.get()

    threads = [
        threading.Thread(target=waits.get, daemon=True),
        threading.Thread(target=named.get, name="watchdog", daemon=True),
        Loader(daemon=True),
    ]
    for each in threads:
        each.start()
    left = before.since()
    left.end(patience=0.1)
    assert str(left) == "3 threads (Loader, get, watchdog)"
    for each in (waits, waits, named):
        each.put(None)
    for each in threads:
        each.join(5)
