"""Real engines: shared by the tests of a module, because starting some takes two seconds."""

from __future__ import annotations

import os
from functools import partial

import psutil
import pytest
from objects import FORGET
from processes import commands

import rankbook
from rankbook.sessions import view
from rankbook.timing import Timing


@pytest.fixture(scope="session", autouse=True)
def ipython_dir(tmp_path_factory):
    """Profiles, connection files and logs of these tests, away from the user's own."""
    path = tmp_path_factory.mktemp("ipython")
    before = os.environ.get("IPYTHONDIR")
    os.environ["IPYTHONDIR"] = str(path)
    yield path
    if before is None:
        del os.environ["IPYTHONDIR"]
    else:
        os.environ["IPYTHONDIR"] = before


@pytest.fixture(scope="module", autouse=True)
def nothing_stays_running():
    """What a module's tests start must be gone when they are done."""
    before = set(psutil.Process().children(recursive=True))
    yield
    current = rankbook.session()
    assert current is None, f"a test left {current} open"
    left = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(left, timeout=10)
    assert commands(alive) == []


@pytest.fixture(scope="module")
def eager():
    """Sessions that look at a cell sooner and more often: a hang costs a test half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "Timing", partial(Timing, first_look=0.1, look_waiting=0.2))
        yield


@pytest.fixture(scope="module")
def two():
    """A session of two gloo ranks on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        # Below pytest ipykernel leaves the standard streams alone, and nowhere else.
        patch.delenv("PYTEST_CURRENT_TEST")
        session = rankbook.start("gloo", 2)
    yield session
    session.shutdown()


@pytest.fixture(scope="module")
def four():
    """A session of four gloo ranks on this machine."""
    session = rankbook.start("gloo", 4)
    yield session
    session.shutdown()


@pytest.fixture
def nothing_of_before(four):
    """Four living ranks without names of an earlier test."""
    if four.dead_ranks:
        four.restart_ranks()
    four.run(FORGET).raise_for_error()
    four.reset(clean=True)
    yield
    if four.dead_ranks:
        four.restart_ranks()


@pytest.fixture
def whole_afterwards(world):
    """After each hang the next cell works, on the same processes, with the same variables."""
    yield
    assert world.works()
    assert world.is_as_it_was()
