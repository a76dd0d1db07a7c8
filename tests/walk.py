"""A walk through a notebook, cell by cell, on whatever versions are installed.

For stacks other than that of ``constraints.txt``, in an environment of its own::

    python -m venv /tmp/old
    /tmp/old/bin/pip install . ipython==7.34 ipykernel==6.17.1 ipywidgets==7.7.1 \\
        jupyter_client==7.4.9 "tornado<6.5" matplotlib
    /tmp/old/bin/python tests/walk.py
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib.metadata import version

from kernels import Notebook, notebook_with_magics

__all__ = ["STEPS", "Step", "walk"]


_ATTEMPTS = 5


@dataclass(frozen=True)
class Step:
    """A cell and what must come of it."""

    cell: str
    text: str = ""
    """A regular expression: what is found in all that the cell shows as text."""
    hidden: str = ""
    """What is not."""
    fails: str = ""
    """Name of the exception that ends it in the notebook."""
    kind: str = ""
    """MIME type of something that it displays."""
    interrupted: bool = False
    """Whether the kernel is interrupted once the cell has printed something."""


STEPS: dict[str, Step] = {
    "start": Step("%dist_init gloo -n 2", "2 ranks"),
    "a value": Step("%%dist\n6 * 7", r"\b42\b"),
    "different values": Step("%%dist\n'rank', 100 + rank", r"100(.|\n)*101"),
    "a line": Step("%dist 5 * rank", r"0(.|\n)*5"),
    "a semicolon": Step("%%dist\n6 * 7;", hidden=r"42"),
    "a semicolon and a comment": Step("%%dist\n6 * 7;  # it's hidden", hidden=r"42"),
    "a shell command and a value": Step("%%dist\n!echo ':-/ :-('\n6 * 7", r":-/ :-\((.|\n)*42"),
    "no value": Step("%%dist\nx = 42", hidden=r"42"),
    "prints": Step(
        "%%dist\nprint('same'); print('mine', rank)", r"\[0(-1)?\] same(.|\n)*\[1\] mine 1"
    ),
    "stderr": Step("%%dist\nimport warnings; warnings.warn('look', stacklevel=1)", "look"),
    "a progress bar": Step("%%dist\nfor i in range(3): print(i, end='\\r')\nprint('end')", "end"),
    "a collective": Step(
        "%%dist\nx = torch.ones(2)\ndist.all_reduce(x)\nx", r"tensor\(\[2\., 2\.\]"
    ),
    "one rank": Step("%%rank 1\nprint('only', rank)", r"only 1"),
    "an error": Step("%%dist\n1 / 0", r"ZeroDivisionError", fails="RankError"),
    "an error on one rank": Step(
        "%%dist\nif rank: raise ValueError('no data')", "no data", fails="RankError"
    ),
    "a syntax error": Step(
        "%%dist\nx = (", r"SyntaxError|never closed|EOF", fails="CellSyntaxError"
    ),
    "sys.exit": Step("%%dist\nimport sys; sys.exit(3)", "SystemExit", fails="RankError"),
    "after errors": Step("%%dist\n'still ' + 'there'", "still there"),
    "an await": Step("%%dist\nimport asyncio\nawait asyncio.sleep(0)\n'waited'", "waited"),
    "an await and a semicolon": Step("%%dist\nawait asyncio.sleep(0)\n'waited';", hidden="waited"),
    "an error in an await": Step("%%dist\nawait asyncio.sleep('x')", fails="RankError"),
    "magics on ranks": Step("%%dist\n%time sum(range(10))", r"(?i)wall time(.|\n)*45"),
    "a figure": Step(
        "%%dist\n%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([rank]);",
        kind="image/png",
    ),
    "HTML": Step(
        "%%dist\nfrom IPython.display import HTML, display\ndisplay(HTML('<b>bold</b>'))",
        kind="text/html",
    ),
    "a table": Step(
        "%%dist\nclass Table:\n    def _repr_html_(self): return '<table></table>'\nTable()",
        kind="text/html",
    ),
    "mode on": Step("%dist_mode on"),
    "a plain cell": Step("7 * world_size", r"\b14\b"),
    "a plain cell with a semicolon": Step("7 * world_size;", hidden=r"14"),
    "mode off": Step("%dist_mode off"),
    "push": Step("lr = 0.5\n%dist_push lr"),
    "pushed": Step("%dist lr", r"0\.5"),
    "pull": Step("%dist_pull x\nx[1].tolist()", r"2\.0"),
    "status": Step("%dist_status", r"rank(.|\n)*idle"),
    "why": Step("%dist_why", "idle"),
    "dashboard": Step("%dashboard", kind="application/vnd.jupyter.widget-view+json"),
    "a hang": Step("%%dist\nif rank: dist.barrier()", "never called barrier", fails="HangError"),
    "after a hang": Step("%%dist\ndist.barrier()\n'together'", "together"),
    "a hang that is left alone": Step(
        "%%dist --no-wait --on-hang report\nif rank: dist.barrier()", hidden="Error"
    ),
    "why while it hangs": Step(
        "import rankbook, time\nwhile not rankbook.session().diagnose().stuck: time.sleep(0.05)\n"
        "%dist_why",
        "never called barrier",
    ),
    "interrupted from a cell": Step("%dist_interrupt"),
    "the stop button": Step(
        "%%dist\nprint('begun', flush=True)\nwhile True: pass",
        "begun",
        fails="RankError",
        interrupted=True,
    ),
    "after the stop button": Step("%%dist\ndist.barrier()\nx.tolist()", r"2\.0"),
    "a death": Step(
        "%%dist\nif rank: import os; os.kill(os.getpid(), 9)", "SIGKILL", fails="HangError"
    ),
    "a new process for it": Step("%dist_restart", "2 ranks"),
    "after a death": Step("%%dist\ndist.barrier()\n'x' in dir()", r"\[0\] True(.|\n)*\[1\] False"),
    "reset": Step("%dist_reset", "2 ranks"),
    "another size": Step("%dist_init -n 3 --no-dashboard", "3 ranks"),
    "three ranks": Step("%%dist\ny = torch.ones(1)\ndist.all_reduce(y)\ny", r"3\."),
    "shutdown": Step("%dist_shutdown"),
}


def walk(notebook: Notebook, step: Step) -> str:
    """Run a cell; return what is wrong with what came of it, or nothing."""
    reply = {"status": "aborted"}
    for _ in range(_ATTEMPTS):
        # For a moment after an error, older kernels drop what was sent before it was heard of.
        if reply["status"] == "aborted":
            notebook.start(step.cell)
            if step.interrupted:
                notebook.wait_for_output()
                notebook.manager.interrupt_kernel()
            reply = notebook.finish(timeout=90)
    shown = [data for kind in ("display_data", "execute_result") for data in notebook.of(kind)]
    text = (
        notebook.stdout
        + notebook.stderr
        + "\n".join(its["data"].get("text/plain", "") for its in shown)
    )
    failed = "\n".join(line for its in notebook.of("error") for line in its["traceback"])
    text = re.sub(r"\x1b\[[\d;]*m", "", f"{text}\n{failed}")
    wrong = []
    if (reply.get("ename") or "") != step.fails or reply["status"] == "aborted":
        wrong.append(f"it ended with {reply.get('ename') or reply['status']}")
    if not re.search(step.text, text):
        wrong.append(f"no {step.text!r}")
    if step.hidden and re.search(step.hidden, text):
        wrong.append(f"{step.hidden!r} is shown")
    if step.kind and not any(step.kind in its["data"] for its in shown):
        wrong.append(f"no {step.kind}")
    return f"{'; '.join(wrong)}: {text.strip()[:2000]!r}" if wrong else ""


def main() -> int:
    """Walk, and say step by step what is wrong."""
    names = ("torch", "ipython", "ipykernel", "ipywidgets", "jupyter_client", "ipyparallel")
    print(*(f"{name} {version(name)}" for name in names), sep=", ")
    count = 0
    with notebook_with_magics() as notebook:
        for name, step in STEPS.items():
            wrong = walk(notebook, step)
            count += bool(wrong)
            print(f"{name}: {wrong or 'ok'}", flush=True)
    print(f"{count} of {len(STEPS)} steps are wrong")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
