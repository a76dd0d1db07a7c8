"""``display x``: values shown again at each stop if they have changed."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from rankbook.engine.debugging.stepping import is_statement

__all__ = ["Displays"]


class Displays:
    """The expressions that the user displays, by function; a cell's statements share theirs.

    pdb compares objects. But a collective changes a tensor in place, and ``==`` of two tensors is a
    tensor. So the texts of values are compared.
    """

    def __init__(self, read: Callable[[str], Any], message: Callable[[str], None]) -> None:
        """Start without expressions.

        Args:
            read: Evaluates an expression in the debugger's frame.
            message: Prints a message to the user.
        """
        self._read, self._message = read, message
        self._shown: dict[object, dict[str, str]] = {}

    def add(self, frame: FrameType, expression: str) -> None:
        """Display an expression from now on; without one, list the displayed ones."""
        shown = self._shown.setdefault(_scope(frame), {})
        if expression:
            shown[expression] = self._text(expression)
            self._message(f"display {expression}: {shown[expression]}")
            return
        for one, text in shown.items():
            self._message(f"{one}: {text}")

    def remove(self, frame: FrameType, expression: str) -> bool:
        """Stop displaying an expression, or all; return whether it was displayed."""
        shown = self._shown.setdefault(_scope(frame), {})
        if expression:
            return shown.pop(expression, None) is not None
        shown.clear()
        return True

    def show_changes(self, frame: FrameType) -> None:
        """Print the expressions whose text has changed."""
        shown = self._shown.get(_scope(frame), {})
        for expression, before in shown.items():
            now = self._text(expression)
            if now != before:
                shown[expression] = now
                self._message(f"display {expression}: {now}  [old: {before}]")

    def _text(self, expression: str) -> str:
        try:
            return repr(self._read(expression))
        except Exception as error:  # noqa: BLE001 - it is the user's
            return f"** raised {type(error).__name__}: {error} **"


def _scope(frame: FrameType) -> object:
    return frame.f_code.co_filename if is_statement(frame) else frame
