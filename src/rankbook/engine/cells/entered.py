"""Modes of torch that a script has entered and not left: the next call of torch would meet them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch import overrides
from torch.utils import _device, _python_dispatch

__all__ = ["left_again"]

_Stack = tuple[Callable[[], list[Any]], Callable[[], object]]
"""What lists a stack of modes, the innermost last, and what takes the innermost off."""


@contextmanager
def left_again() -> Iterator[None]:
    """Leave, at the end of the block, the modes that were entered in it."""
    stacks = _stacks()
    before = [mode for listed, _ in stacks for mode in listed()]
    try:
        yield
    finally:
        for listed, take_off in stacks:
            while (entered := listed()) and not _stays(entered[-1], before):
                with suppress(Exception):  # a mode's own
                    entered[-1].__exit__(None, None, None)
                if len(listed()) >= len(entered):
                    take_off()


def _stacks() -> list[_Stack]:
    """The stacks of torch: private (2.9 to 2.15); without them, modes stay entered."""
    try:
        return [
            (overrides._get_current_function_mode_stack, overrides._pop_mode),
            (_python_dispatch._get_current_dispatch_mode_stack, _python_dispatch._pop_mode),
        ]
    except AttributeError:
        return []


def _stays(mode: Any, before: list[Any]) -> bool:
    # The default device is the lowest of all modes, and is put back like other settings.
    return isinstance(mode, _device.DeviceContext) or any(mode is known for known in before)
