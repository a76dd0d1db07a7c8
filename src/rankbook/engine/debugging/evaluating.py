"""Evaluating what is typed at the prompt, so that functions in it see the frame's variables."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, MutableMapping
from types import FrameType
from typing import Any

__all__ = ["evaluate", "run_statement"]

# eval() and exec() give only the globals to a lambda or a comprehension. So where a frame has local
# variables, these are merged into a copy of the globals.


def evaluate(text: str, frame: FrameType, names: MutableMapping[str, Any]) -> Any:
    """Evaluate an expression in a frame.

    Args:
        text: The expression.
        frame: The frame.
        names: Its local variables, as the debugger keeps them.
    """
    return eval(text, _visible(frame, names), names)  # noqa: S307 - as a user types it


def run_statement(
    text: str,
    frame: FrameType,
    names: MutableMapping[str, Any],
    show: Callable[[Any], None],
) -> None:
    """Run a statement in a frame, and bind its names there.

    Args:
        text: The statement, which may have several lines.
        frame: The frame.
        names: Its local variables, as the debugger keeps them.
        show: Called with the value, if the statement is an expression.
    """
    code = compile(f"{text}\n", "<stdin>", "single")
    visible = _visible(frame, names)
    before, sys.displayhook = sys.displayhook, show
    known = visible.copy()
    try:
        exec(code, visible, names)  # noqa: S102 - as a user types it
    finally:
        sys.displayhook = before
        _write_back(frame)
        if visible is not frame.f_globals:
            _keep_globals(known, visible, frame.f_globals)


def _visible(frame: FrameType, names: MutableMapping[str, Any]) -> dict[str, Any]:
    if names is frame.f_globals:
        return frame.f_globals
    return {**frame.f_globals, **names}


def _keep_globals(before: dict[str, Any], after: dict[str, Any], names: dict[str, Any]) -> None:
    """Bind names that a statement declared ``global``."""
    for name in after.keys() | before.keys():
        if name not in after:
            names.pop(name, None)
        elif name not in before or after[name] is not before[name]:
            names[name] = after[name]


def _write_back(frame: FrameType) -> None:
    """Write assignments back to the function; before Python 3.13, ``f_locals`` is a copy.

    Python does so after a trace function, but a rank stops within ``breakpoint()``.
    """
    if sys.version_info < (3, 13):
        ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
