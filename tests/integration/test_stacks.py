"""The stack that code asks for: as in a process of its own, without the engine below it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

STACKS = {
    "print_stack": "import traceback\ndef f():\n    traceback.print_stack(limit=9)\nf()",
    "format_stack": "import traceback\ndef f(): return traceback.format_stack()\nprint(*f())",
    "of another frame": """import sys, threading, traceback
def f():
    main = threading.main_thread().ident
    show = lambda: print(*traceback.extract_stack(sys._current_frames()[main])[:2])
    thread = threading.Thread(target=show)
    thread.start(); thread.join()
f()""",
    "inspect.stack": """import inspect
def f(): return [(each.function, each.lineno, each.code_context) for each in inspect.stack()]
print(f())""",
    "faulthandler": """import faulthandler, threading
go = threading.Event()
def dump(): go.wait(); faulthandler.dump_traceback(); faulthandler.dump_traceback(all_threads=False)
thread = threading.Thread(target=dump)
thread.start()
go.set(); thread.join()""",
    "logging": """import logging
logging.basicConfig(format="%(message)s", force=True)
def f(): logging.warning("where", stack_info=True)
f()""",
    "a handler of signals": """import os, signal, traceback
signal.signal(signal.SIGUSR1, lambda _, frame: print(*traceback.format_stack(frame)))
os.kill(os.getpid(), signal.SIGUSR1)
signal.signal(signal.SIGUSR1, signal.SIG_DFL)""",
    "warnings": """import warnings
def f(level): warnings.warn(f"level {level}", stacklevel=level)
with warnings.catch_warnings():
    warnings.simplefilter("always")
    for level in (1, 2, 3, 5, 12): f(level)""",
}


def in_general(text):
    """Without addresses of threads, the names of cells' files, and where exactly a thread waits."""
    text = re.sub(r'(?m)^  File ".*threading.py".*\n', "", text)
    text = re.sub(r"(?m)^.* line (\d+)(: \w*Warning)", r"FILE:\1\2", text)
    text = re.sub(r"(?m)^\S*\.py:(\d+)(: \w*Warning)", r"FILE:\1\2", text)
    text = re.sub(r"hread 0x\w+.* \(", "hread (", text)
    return re.sub(r"[^\s\"]*(cell \d+|kept)\.py", "FILE", text).strip()


@pytest.fixture(params=STACKS)
def kept(request, tmp_path):
    """A script that asks for its stack, and what it prints under Python itself."""
    script = tmp_path / "kept.py"
    script.write_text(STACKS[request.param])
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=60
    )
    return script, in_general(done.stdout + done.stderr)


def test_a_script_sees_its_own_stack_as_under_python(two, kept):
    script, expected = kept
    result = two.run_script(str(script), ranks=[0])
    result.raise_for_error()
    assert in_general(result[0].stdout + result[0].stderr) == expected


def test_a_cell_sees_its_own_stack_as_a_script_does(two, kept):
    script, expected = kept
    result = two.run(script.read_text(), ranks=[0])
    result.raise_for_error()
    assert in_general(result[0].stdout + result[0].stderr) == expected
