"""The magics in IPython in a terminal, typed as a person types them."""

from __future__ import annotations

import re
import sys

import pexpect
import pytest

HANG = "%dist dist.barrier() if rank else None"


class Terminal:
    """IPython on a pseudo-terminal."""

    def __init__(self, folder):
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor"],
            encoding="utf-8",
            timeout=60,
            cwd=str(folder),
            dimensions=(50, 160),
            echo=False,
        )
        self.count = 0
        self.end()

    def run(self, line):
        """Type a line; what is shown until the next prompt."""
        self.child.sendline(line)
        return self.end()

    def end(self):
        self.count += 1
        self.child.expect_exact(f"In [{self.count}]: ")
        return re.sub(r"\x1b\[[\d;?]*\w|\r", "", self.child.before)


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path)
    terminal.run("%load_ext rankbook")
    yield terminal
    terminal.child.sendline("exit")
    terminal.child.expect(pexpect.EOF)
    terminal.child.close()


def test_a_session_in_a_terminal(terminal):
    shown = terminal.run("%dist_init gloo -n 2")
    assert "gloo · 2 ranks · generation 1 · all idle" in shown
    assert (
        terminal.run("%dist x = torch.ones(1); dist.all_reduce(x); x").strip()
        == "[0-1] tensor([2.])"
    )
    shown = terminal.run(HANG)
    assert "HangError" in shown
    assert "ank 0 never called barrier" in shown
    assert "[0-1] tensor([4.])" in terminal.run("%dist dist.all_reduce(x); x")
    assert re.search(r"0 +0 +cpu +gloo", terminal.run("%dist_status"))


def test_ctrl_c_in_a_terminal_frees_the_ranks(terminal):
    terminal.run("%dist_init gloo -n 2")
    terminal.child.sendline("%dist print('begun', flush=True); exec('while True: pass')")
    terminal.child.expect_exact("[0-1] begun")
    terminal.child.sendintr()
    assert "ranks 0-1 were still computing in In [3] line 1." in terminal.end()
    assert "[0-1] 42" in terminal.run("%dist 6 * 7")
