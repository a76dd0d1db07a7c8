"""Processes that the notebook's process has forked: the session is not theirs."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from contextlib import suppress

import psutil
from processes import commands, family, run_python

_START = """
import json, os, sys, time
import psutil
import rankbook
session = rankbook.start("gloo", 2)
"""


def test_a_fork_of_the_notebook_that_exits_leaves_the_session_as_it_is():
    code = """
        if not (child := os.fork()):
            sys.exit(3)  # runs what is registered for the exit
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(session.run("dist.barrier()").ok)
    """
    done = run_python(_START + textwrap.dedent(code))
    assert (done.stdout, done.stderr) == ("3\nTrue\n", "")


def test_a_fork_of_the_notebook_is_refused_in_one_line_and_can_start_a_session_of_its_own():
    code = """
        parent = os.getpid()
        if not (child := os.fork()):
            try:
                session.run("1")
            except rankbook.SessionError as error:
                said = str(error).replace(str(parent), "A").replace(str(os.getpid()), "B")
                print(said, flush=True)
            assert rankbook.session() is None
            session.shutdown()
            own = rankbook.start("gloo", 2)
            print(own.run("dist.barrier()").ok, flush=True)
            own.shutdown()
            sys.exit()
        os.waitpid(child, 0)
        print(session.run("dist.barrier()").ok)
    """
    said = "This session belongs to process A, of which this one (B) is a fork: use it there."
    assert run_python(_START + textwrap.dedent(code)).stdout == f"{said}\nTrue\nTrue\n"


def test_engines_end_with_a_killed_notebook_though_a_fork_of_it_lives_on():
    code = """
        started = [p.pid for p in psutil.Process().children(recursive=True)]
        if not (child := os.fork()):
            time.sleep(600)
        print(json.dumps([child, started]), flush=True)
        time.sleep(600)
    """
    notebook = subprocess.Popen(
        [sys.executable, "-c", _START + textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    everything = []
    try:
        child, started = json.loads(notebook.stdout.readline())
        everything = family(psutil.Process(notebook.pid))
        engines = [psutil.Process(pid) for pid in started]
        assert len(engines) >= 4  # a controller and its heart monitor, a server, two engines
        notebook.kill()
        _, alive = psutil.wait_procs(engines, timeout=10)
        assert commands(alive) == []
        assert psutil.Process(child).is_running()
    finally:
        notebook.kill()
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        notebook.communicate()  # the fork has held its output, too
