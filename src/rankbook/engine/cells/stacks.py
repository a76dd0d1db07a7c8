"""The stack as code sees it that asks for it: it begins with the cell or the script.

Under a launcher a script has nothing below it; on a rank there is the engine, in some twenty frames
that ``traceback.print_stack()`` would show. A stack that code walks by itself is as it is:
Python has no way to cut it.
"""

from __future__ import annotations

import faulthandler
import inspect
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import ipykernel
import ipyparallel
import IPython
import tornado
import zmq

from rankbook import calls
from rankbook.calls.places import is_entrance

__all__ = ["begin_at_cells", "frames", "is_below"]

_ENGINE = f"{Path(__file__).parents[1]}{os.sep}"
_RUNS_CODE = (
    *(f"{_ENGINE}{name}" for name in ("agent.py", f"cells{os.sep}runner.py", f"starting{os.sep}")),
    f"{Path(str(ipyparallel.__file__)).parent}{os.sep}",
)
"""Files that run a person's code, or the event loop in which its tasks are."""

_SHELL = tuple(f"{Path(str(each.__file__)).parent}{os.sep}" for each in (IPython, ipykernel))
"""Files between those and a cell."""

_OF_THE_ENGINE = (
    _ENGINE,
    *_RUNS_CODE[-1:],
    *_SHELL[1:],
    *(f"{Path(str(each.__file__)).parent}{os.sep}" for each in (tornado, zmq)),
)
"""Files that threads of the engine run, and a person's only through these."""

_FRAME = re.compile(r'  File "(.*)", line ')


def begin_at_cells() -> None:
    """Have Python's functions that show the stack begin with a person's code."""
    traceback.extract_stack = _extract_stack  # print_stack, format_stack and logging call it
    inspect.getouterframes = _outer_frames(inspect.getouterframes)  # inspect.stack calls it
    faulthandler.dump_traceback = _dump(faulthandler.dump_traceback)


def frames(frame: FrameType | None) -> list[FrameType]:
    """The frames of a stack down to the cell, or the script, the innermost first."""
    found: list[FrameType] = []
    while frame is not None and not _runs_code(frame.f_code.co_filename):
        found.append(frame)
        frame = frame.f_back
    if frame is not None:
        del found[_above_the_shell([each.f_code.co_filename for each in found]) :]
    return found


def is_below(filename: str, line: int) -> bool:
    """Whether a line is one that led to the cell, or the script, which asks."""
    own = set(map(id, frames(sys._getframe(1))))
    frame, below = sys._getframe(1), False
    while frame is not None:
        if (frame.f_code.co_filename, frame.f_lineno) == (filename, line):
            if id(frame) in own:
                return False
            below = True
        frame = frame.f_back  # type: ignore[assignment]
    return below


def _runs_code(filename: str) -> bool:
    return filename.startswith(_RUNS_CODE) or is_entrance(filename)


def _above_the_shell(files: list[str]) -> int:
    """How many of the files of a stack, innermost first, are above those of IPython below them."""
    count = len(files)
    while count and files[count - 1].startswith(_SHELL):
        count -= 1
    return count


def _extract_stack(f: FrameType | None = None, limit: int | None = None) -> Any:
    lines = ((each, each.f_lineno) for each in _shown(sys._getframe(1) if f is None else f))
    stack = traceback.StackSummary.extract(lines, limit=limit)
    stack.reverse()
    return stack


def _shown(frame: FrameType) -> Iterator[FrameType]:
    """Without what stands in for torch's functions."""
    return (each for each in frames(frame) if not calls.is_ours(each.f_code))


def _outer_frames(formerly: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def getouterframes(frame: Any, context: int = 1) -> list[Any]:
        shown = set(map(id, _shown(frame)))
        return [each for each in formerly(frame, context) if id(each.frame) in shown]

    return getouterframes


def _dump(formerly: Callable[..., None]) -> Callable[..., None]:
    def dump_traceback(file: Any = None, all_threads: Any = True) -> None:  # noqa: FBT002 - as the original
        target = sys.stderr if file is None else file
        number = target if isinstance(target, int) else target.fileno()
        with tempfile.TemporaryFile() as whole:
            formerly(file=whole, all_threads=all_threads)
            whole.seek(0)
            text = whole.read().decode(errors="backslashreplace")
        if not isinstance(target, int):
            target.flush()
        os.write(number, _without_engine(text).encode())

    return dump_traceback


def _without_engine(dump: str) -> str:
    """A dump of all threads, without those of the engine, and without what is below a cell."""
    stacks = []
    for stack in dump.rstrip("\n").split("\n\n"):
        head, *lines = (line for line in stack.split("\n") if f'"{__file__}"' not in line)
        matches = [_FRAME.match(line) for line in lines]
        files = [match[1] if match else "" for match in matches]
        end = next((i for i, name in enumerate(files) if _runs_code(name)), None)
        if end is not None:
            end = _above_the_shell(files[:end])
        if (end or end is None) and not any(map(_is_engines, files[:end])):
            stacks.append("\n".join([head, *lines[:end]]))
    return "\n\n".join(stacks) + "\n"


def _is_engines(filename: str) -> bool:
    return filename.startswith(_OF_THE_ENGINE)
