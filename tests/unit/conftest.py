"""What unit tests share: a shell of IPython's without a kernel, a session without engines."""

from __future__ import annotations

import atexit

import fakes
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config


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
def pool():
    """Four engines on one host."""
    return fakes.FakePool(4)


@pytest.fixture
def session(pool):
    """A session on these engines, without a group."""
    from rankbook.sessions.session import Session

    session = Session(pool, lambda its: None)
    yield session
    session.shutdown()
