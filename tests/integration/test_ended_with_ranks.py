"""What ranks have started ends with them, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest
from counts import ROUNDS
from processes import has_ended, wait_until

import rankbook

START = """
import multiprocessing, os, subprocess, sys, threading, time
started = [subprocess.Popen(["sleep", "1000"]).pid]
started.append(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
started.append(subprocess.Popen(["sh", "-c", "setsid sh -c 'sleep 1000 & sleep 1000' & wait"]).pid)
context = multiprocessing.get_context("fork")
pool = context.Pool(2)
started += [worker.pid for worker in pool._pool]
process = context.Process(target=time.sleep, args=(1000,)); process.start()
started.append(process.pid)
own = {"PATH": os.environ["PATH"]}
started.append(subprocess.Popen(["sleep", "1000"], env=own, start_new_session=True).pid)
import psutil
until = time.monotonic() + 20
while len(started := [child.pid for child in psutil.Process().children(recursive=True)]) < 9:
    assert time.monotonic() < until, started
    time.sleep(0.01)
there, told = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        os.closerange(0, told)
        program = subprocess.Popen(["sleep", "1000"], env=own)
        os.write(told, f"{os.getpid()} {program.pid}".encode())
        os.close(told)
        time.sleep(1000)
    os._exit(0)
os.wait()
started += map(int, os.read(there, 99).split())
"""
"""Processes of many kinds: at the end a daemon, and what that starts with variables of its own."""


def started(session):
    session.run(START, timeout=60).raise_for_error()
    pids = [pid for pids in session.pull("started").values() for pid in pids]
    assert len(pids) >= 11 * session.world_size
    return pids


def gone(pids):
    wait_until(lambda: all(map(has_ended, pids)), 10)


@pytest.mark.counted
@pytest.mark.parametrize("_round", ROUNDS)
@pytest.mark.parametrize("how", ["shutdown", "restart", "hard"])
def test_processes_that_ranks_started_end_with_the_ranks(how, _round):
    session = rankbook.start("gloo", 2)
    try:
        pids = started(session)
        if how == "restart":
            session.restart_ranks([0, 1])
        elif how == "hard":
            session.reset(hard=True)
    finally:
        session.shutdown()
    gone(pids)


def test_processes_of_one_rank_end_with_it_and_others_with_the_forking_process():
    session = rankbook.start("gloo", 2)
    try:
        started(session)
        pids = session.pull("started")
        session.restart_ranks([0])
        gone(pids[0])
        assert not any(map(has_ended, pids[1]))
        os.kill(psutil.Process(session.states()[0].pid).ppid(), signal.SIGKILL)
        gone(pids[1])
    finally:
        session.shutdown()


@pytest.mark.counted
@pytest.mark.parametrize("_round", ROUNDS)
def test_processes_that_ranks_started_end_when_the_notebook_is_killed(tmp_path, _round):
    program = (
        "import rankbook, sys, time\n"
        "session = rankbook.start('gloo', 2)\n"
        f"session.run({START!r}).raise_for_error()\n"
        "print([pid for pids in session.pull('started').values() for pid in pids], flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as notebook:
        pids = eval(notebook.stdout.readline())  # noqa: S307 - of a program of ours
        os.kill(notebook.pid, signal.SIGKILL)
    gone(pids)
