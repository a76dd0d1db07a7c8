"""The process beside an engine that nothing else survives: it ends what the engine has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from processes import has_ended, let_pass, wait_until

ENGINE = """
import os, sys, time
from rankbook.engine.processes import orphans
orphans.guard()
there, told = os.pipe()
if not os.fork():
    os.setsid()
    if not os.fork():
        os.write(told, str(os.getpid()).encode())
        time.sleep(600)
    os._exit(0)
os.wait()
try:
    os.wait()
except ChildProcessError:
    print(os.read(there, 99).decode(), flush=True)
%s
time.sleep(600)
"""
"""It has no child that it did not start, and starts a daemon."""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere process groups are ended")
@pytest.mark.parametrize("then", ["", "os.closerange(3, 100)"])
def test_a_daemon_ends_with_a_killed_engine_and_not_before(then):
    engine = subprocess.Popen([sys.executable, "-c", ENGINE % then], stdout=subprocess.PIPE)
    try:
        daemon = int(engine.stdout.readline())
        let_pass(0.2)
        assert engine.poll() is None
        assert not has_ended(daemon)
    finally:
        os.kill(engine.pid, signal.SIGKILL)
        engine.communicate()
    wait_until(lambda: has_ended(daemon), 5)
