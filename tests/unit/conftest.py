"""What unit tests share: a notebook without a kernel, a session without engines."""

from __future__ import annotations

import ast
import atexit
import gc
import os
import threading
from dataclasses import replace

import fakes
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from IPython.utils.capture import capture_output
from traitlets.config import Config

import rankbook
from rankbook import api
from rankbook.cluster.transport import channel
from rankbook.cluster.transport.channel import everyone
from rankbook.display.table import Table
from rankbook.models.requests import Run
from rankbook.notebook import Session
from rankbook.sessions.group.group import Group
from rankbook.sessions.members import Members
from rankbook.timing import Timing

# The recorder of torch 2.9 keeps nothing unless this says how much, before torch is imported.
os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "2000")


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """A fresh IPython, the current one while the test runs, that keeps no history."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance(config=config, colors="nocolor")
    with capture_output():
        yield shell
    # Each shell would collect garbage once more when the tests have ended.
    atexit.unregister(shell.atexit_operations)
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


@pytest.fixture
def amid_a_parse():
    """Calls a function in the middle of a parse of this process; returns what it said each time."""

    def call(function):
        told = []

        def tell(phase, _info):
            if phase == "start" and len(told) < 5:
                told.append(function())

        before = gc.get_threshold()
        gc.callbacks.append(tell)
        gc.set_threshold(50)
        try:
            ast.parse("x = f(a + b, [c, d], e.f[g])\n" * 50)
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(tell)
        return told

    return call


@pytest.fixture
def host(tmp_path):
    """Makes a file system of control groups."""

    def make(own, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(own)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return make


@pytest.fixture
def clock():
    """What freeing, looking and repairing wait by; the rest have the real clock."""
    return fakes.Clock()


@pytest.fixture
def timing(request, clock, monkeypatch):
    """The patience of a session that never waits long for engines that do not answer.

    ``pytest.mark.timing(settle=0.01)`` changes it for a test; so does the fixture ``watchful``.
    """
    monkeypatch.setattr(channel, "_POLL", 0.001)
    patience = Timing(
        clock=clock,
        answer=0.005,
        answer_each=0.0,
        adopt=0.01,
        idle_poll=0.1,
        leave=0.02,
        undo=0.02,
        form_margin=0.02,
    )
    if "watchful" in request.fixturenames:
        patience = replace(patience, first_look=0.0, look_waiting=0.005, look_busy=0.005)
    for mark in request.node.iter_markers("timing"):
        patience = replace(patience, **mark.kwargs)
    return patience


@pytest.fixture
def watchful():
    """Cells are looked at from their beginning, and again and again; see ``timing``."""


@pytest.fixture
def pool():
    """Four engines on one host."""
    return fakes.FakePool(4)


@pytest.fixture
def session(pool, timing):
    """A session on these engines, without a group."""
    session = Session(pool, timing)
    yield session
    session.shutdown()


@pytest.fixture
def formed(session):
    """A session whose group of four is formed."""
    session.initialize("gloo")
    return session


@pytest.fixture
def group(formed):
    """The process group of that session."""
    return formed._group


@pytest.fixture
def repair(formed):
    """What frees the ranks of that group, and makes the next one."""
    return formed._repair


@pytest.fixture
def settle(formed):
    """What is done behind a cell of that group."""
    its = formed._cells._aftermath

    def settle(result, freed, ran, **given):
        return its.settle(result, freed, ran, its.seen(result), **given)

    return settle


@pytest.fixture
def calls(pool):
    """Has engines run a cell without waiting for its end."""

    def run_cell(code, *engines):
        pool.channel.request(everyone(engines or pool.engines, Run(code, 1)))

    return run_cell


@pytest.fixture
def make(timing):
    """Makes sessions on pools of one's own, and shuts them down."""
    made = []

    def new(*args, **options):
        made.append(Session(fakes.FakePool(*args, **options), timing))
        return made[-1]

    yield new
    for session in made:
        session.shutdown()


@pytest.fixture
def start(timing):
    """Makes groups on pools of one's own; returns the pool and the group."""
    made = []

    def new(*args, nproc=None, **options):
        pool = fakes.FakePool(*args, **options)
        made.append(group := Group(Members(pool, timing)))
        group.initialize("gloo", nproc)
        return pool, group

    yield new
    for group in made:
        group.close()


class StandIn:
    """What the magics need of a dashboard."""

    def __init__(self, session):
        self.session = session

    def display(self):
        display(Table(self.session.snapshot()))


class Notebook:
    """Runs cells and keeps what they show."""

    def __init__(self, shell):
        self.shell = shell
        self.out = self.err = ""
        self.displays = []

    def run(self, cell):
        """Run a cell, and what it begins in the background, to its end; return its value."""
        others = set(threading.enumerate())
        with capture_output() as shown:
            result = self.shell.run_cell(cell)
            for thread in set(threading.enumerate()) - others:
                if thread.name == "rankbook-cell":
                    thread.join(10)
        self.out, self.err, self.displays = shown.stdout, shown.stderr, shown.outputs
        self.error = result.error_before_exec or result.error_in_exec
        return result.result

    def fail(self, cell):
        """Run a cell that fails; return its error."""
        self.run(cell)
        assert self.error is not None, "the cell did not fail"
        return self.error

    def usage(self, cell):
        """Run a cell that is a mistake; return the line that says so."""
        error = self.fail(cell)
        assert type(error) is UsageError, repr(error)
        assert "\n" not in str(error)
        return str(error)

    def __getitem__(self, name):
        return self.shell.user_ns[name]


@pytest.fixture
def empty(shell, monkeypatch):
    """A notebook with the magics and no session."""
    monkeypatch.setattr(api.current, "session", None)
    rankbook.load_ipython_extension(shell)
    yield Notebook(shell)
    rankbook.unload_ipython_extension(shell)


@pytest.fixture
def stand_in():
    """What makes a session's dashboard in these tests."""
    return StandIn


@pytest.fixture
def notebook(empty, session, monkeypatch):
    """A notebook with the magics and four ranks."""
    session.initialize("gloo")
    monkeypatch.setattr(session, "dashboard", lambda: StandIn(session))
    monkeypatch.setattr(api.current, "session", session)
    return empty
