"""The magics in IPython in a terminal, typed as a user types them."""

from __future__ import annotations

import os
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

    def answer(self, line=None):
        """Answer the debugger, if there is something to say; what is shown until it asks again."""
        if line is not None:
            self.child.sendline(line)
        self.child.expect_exact("\N{BLACK RIGHT-POINTING SMALL TRIANGLE} ")
        return _plain(self.child.before)

    def end(self):
        self.count += 1
        self.child.expect_exact(f"In [{self.count}]: ")
        return _plain(self.child.before)


def _plain(text):
    return re.sub(r"\x1b\[[\d;?]*\w|\r", "", text)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    """One terminal, in which each test makes the group again."""
    terminal = Terminal(tmp_path_factory.mktemp("terminal"))
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
    assert re.search(r"0 +idle .* cpu +0 ", terminal.run("%dist_status"))
    assert "[0-1] Type:        Tensor" in terminal.run("%dist x?")


def test_the_debugger_asks_in_a_terminal(terminal):
    terminal.run("%dist_init gloo -n 2")
    terminal.child.sendline("%dist y = rank; breakpoint(); y")
    assert "[0-1] -> y = rank; breakpoint(); y" in terminal.answer()
    assert "[0] 40\n[1] 41\n" in terminal.answer("p y + 40")
    assert "[1] 10\n" in terminal.answer("1: p y * 10")
    assert "[0] 0\n[1] 1\n" in terminal.run("c")
    terminal.child.sendline("%dist breakpoint()")
    terminal.answer()
    terminal.child.sendintr()
    assert "Interrupted" in terminal.end()
    assert "[0-1] 42" in terminal.run("%dist 6 * 7")


def test_tab_completes_names_of_ranks_in_a_terminal(tmp_path):
    settings = {
        "HistoryManager.enabled": "False",
        "TerminalInteractiveShell.autosuggestions_provider": "None",
        "TerminalInteractiveShell.display_completions": "readlinelike",
    }
    child = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--no-banner", *(f"--{key}={value}" for key, value in settings.items())],
        encoding="utf-8",
        timeout=60,
        cwd=str(tmp_path),
        env=os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
        echo=False,
    )
    lines = ["%load_ext rankbook", "%dist_init gloo -n 2", "%dist on_the_ranks = torch.ones(2)"]
    for number, line in enumerate([*lines, ""], 1):
        child.expect(rf"In \[.*{number}.*\]")
        child.send(f"{line}\r" if line else "%dist on_th")
    child.expect_exact("on_th")
    child.send("\t")
    child.expect_exact("e_ranks")
    child.send(".ndi")
    child.expect_exact(".ndi")
    child.send("\t")
    child.expect_exact("m")
    child.send("\r")
    child.expect_exact("[0-1] 1")
    child.expect(r"In \[.*5.*\]")
    child.send("exit()\r")
    child.expect(pexpect.EOF)
    child.close()


def test_ctrl_c_in_a_terminal_frees_the_ranks(terminal):
    terminal.run("%dist_init gloo -n 2")
    terminal.child.sendline("%dist print('begun', flush=True); exec('while True: pass')")
    terminal.child.expect_exact("[0-1] begun")
    terminal.child.sendintr()
    place = f"In [{terminal.count}] line 1"
    assert f"ranks 0-1 were still computing in {place}." in terminal.end()
    assert "[0-1] 42" in terminal.run("%dist 6 * 7")
