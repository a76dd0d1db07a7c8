"""Runs a cell for a fake engine: at once, with ``exec``, in the thread that asks."""

from __future__ import annotations

import ast
import contextlib
import io
import traceback
from itertools import count
from pathlib import Path

from rankbook.models import Collective, to_dict
from rankbook.models.calls import Call
from rankbook.models.events import Result, Stream
from rankbook.models.exchanges import Exchange

__all__ = ["Death", "Hang", "Stop", "moment", "run"]

_CELL = "cell"
"""File name of the code that engines run."""

_moments = count(1)


class Hang(BaseException):
    """Ends the Python of a cell that hangs; its answer comes when it is freed."""

    def __init__(self, waiting: Collective | None = None) -> None:
        super().__init__()
        self.waiting = waiting


class Stop(BaseException):
    """Ends the Python of a cell that stands at a prompt until it is answered, or freed."""

    def __init__(self, asks) -> None:
        super().__init__()
        self.asks = asks


class Death(BaseException):
    """Ends the Python of a cell that ends its process."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


def moment() -> float:
    """A time on the engines' clock, later than all before."""
    return float(next(_moments))


def run(engine, task, code, number, name, first_line, *, script=None, **options):
    """Run a cell, or a script; return the status with which it ends the engine, if it does."""
    if options.get("keep_values"):
        engine.kept = Exchange(Call(1, "all_reduce", ranks=(engine.number,), number=1))
    engine.cell, engine.last_error = number, ""
    error = exit_code = None
    if script is not None:
        engine.scripts.append(script)
        code, exit_code = Path(script["folder"], script["path"]).read_text(), 0
    out, err = _Stream("stdout", task.say), _Stream("stderr", task.say)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            value = _exec(code, engine.names)
        if value is not None:
            task.say(Result({"text/plain": repr(value)}))
    except Hang as hang:
        engine.hang(task, _line(hang, code, name, first_line), hang.waiting)
        return None
    except Stop as stop:
        engine.hang(task, _line(stop, code, name, first_line))
        engine.asks = stop.asks
        task.say(stop.asks)
        return None
    except Death as death:
        return death.status
    except Exception as raised:  # noqa: BLE001
        lines = traceback.format_exception_only(raised)
        error = {
            "ename": type(raised).__name__,
            "evalue": str(raised),
            "traceback": [line.rstrip() for line in lines],
            "when": moment(),
            "line": _line(raised, code, name, first_line),
        }
        exit_code = exit_code if exit_code is None else 1
        engine.last_error = f"{error['ename']}: {error['evalue']}"
    engine.cell = None
    said = [to_dict(fingerprint) for fingerprint in engine.fingerprints]
    answer = {"error": error, "seconds": 0.25, "fingerprints": said, "exit_code": exit_code}
    task.answer(answer)
    return None


def _line(error, code, name, first_line):
    """Where in a cell: ``cell 1 line 3: stick()``."""
    numbers = [
        number
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == _CELL
    ]
    if not numbers:
        return ""
    text = code.splitlines()[numbers[-1] - 1].strip()
    return f"{name} line {first_line + numbers[-1] - 1}: {text}"


class _Stream(io.TextIOBase):
    def __init__(self, name, say):
        self._name, self._say = name, say

    def write(self, text):
        self._say(Stream(self._name, text))
        return len(text)


def _exec(code, names):
    """Run a cell and return the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, _CELL, "exec"), names)  # noqa: S102
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), _CELL, "eval"), names)  # noqa: S307
