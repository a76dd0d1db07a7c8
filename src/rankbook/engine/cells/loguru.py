"""Loguru's tracebacks on a rank: they begin with a person's code.

Loguru shows not only what an exception came through, but also all that called what catches it. On a
rank that is the engine, in some hundred lines. Under a launcher a script has nothing below it.
"""

from __future__ import annotations

from types import FrameType, ModuleType
from typing import Any

from rankbook.calls.places import is_entrance
from rankbook.cellnames import is_cell
from rankbook.engine.imports import when_imported

__all__ = ["begin_at_cells"]


def begin_at_cells() -> None:
    """Leave out of loguru's tracebacks what is below a cell, or a script."""
    when_imported("loguru._better_exceptions", _replace)


def _replace(module: ModuleType) -> None:
    # Private in loguru, the same in 0.7.0 to 0.7.3; where it is missing, all frames are shown.
    cls: Any = getattr(module, "ExceptionFormatter", None)
    extract = getattr(cls, "_extract_frames", None)
    if extract is None:
        return

    def _extract_frames(
        self: Any, tb: Any, is_first: Any, *, limit: int | None = None, **how: Any
    ) -> Any:
        frames, source = extract(self, tb, is_first, **how)
        extends = is_first and self._backtrace and tb is not None
        shown = frames[_below(tb.tb_frame) :] if extends else frames
        return shown if limit is None else shown[-limit:] if limit > 0 else [], source

    cls._extract_frames = _extract_frames


def _below(frame: FrameType | None) -> int:
    """How many of the frames of a stack are below a person's code; 0 where it has none."""
    above = count = 0
    while frame is not None:
        count += 1
        caller = frame.f_back
        name = frame.f_code.co_filename
        is_called = caller is not None and is_entrance(caller.f_code.co_filename)
        if is_cell(name) or (is_called and not is_entrance(name)):
            above = count
        frame = caller
    return count - above if above else 0
