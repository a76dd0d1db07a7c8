"""What a script has left behind."""

from __future__ import annotations

import os
import subprocess
import sys

from rankbook.engine.cells.left import Left


def test_a_process_that_has_ended_does_not_count_though_nobody_has_waited_for_it():
    before = Left()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert str(before.since()) == "1 process"
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert str(before.since()) == ""
