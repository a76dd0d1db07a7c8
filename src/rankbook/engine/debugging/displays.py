"""``display x``: values that are shown again at each stop at which they have changed."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from rankbook.engine.debugging.stepping import is_statement

__all__ = ["Displays"]


class Displays:
    """The expressions that a person displays, by function; a cell's statements share theirs.

    pdb asks whether a value is another object. A collective changes a tensor in place, and two
    tensors are not equal but compared number by number: so it is asked whether it reads otherwise.
    """

    def __init__(self, read: Callable[[str], Any], message: Callable[[str], None]) -> None:
        """Begin with none.

        Args:
            read: Evaluates an expression where the debugger stands.
            message: Says something to the person.
        """
        self._read, self._message = read, message
        self._shown: dict[object, dict[str, str]] = {}

    def add(self, frame: FrameType, expression: str) -> None:
        """Display an expression from now on; without one, say what is displayed."""
        shown = self._shown.setdefault(_scope(frame), {})
        if expression:
            shown[expression] = self._text(expression)
            self._message(f"display {expression}: {shown[expression]}")
            return
        for one, text in shown.items():
            self._message(f"{one}: {text}")

    def remove(self, frame: FrameType, expression: str) -> bool:
        """Display an expression no more, or none; tell whether it was displayed."""
        shown = self._shown.setdefault(_scope(frame), {})
        if expression:
            return shown.pop(expression, None) is not None
        shown.clear()
        return True

    def show_changes(self, frame: FrameType) -> None:
        """Say what reads otherwise than it did."""
        shown = self._shown.get(_scope(frame), {})
        for expression, before in shown.items():
            now = self._text(expression)
            if now != before:
                shown[expression] = now
                self._message(f"display {expression}: {now}  [old: {before}]")

    def _text(self, expression: str) -> str:
        try:
            return repr(self._read(expression))
        except Exception as error:  # noqa: BLE001 - it is the person's
            return f"** raised {type(error).__name__}: {error} **"


def _scope(frame: FrameType) -> object:
    return frame.f_code.co_filename if is_statement(frame) else frame
