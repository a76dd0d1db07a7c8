"""From which lines compiled code was made, where torch's compiler has kept them.

Dynamo traces a function into a graph, which runs as generated Python below a frame of the function
that stands in no line of it. The graph's nodes know from which lines they come; the generated code
says which node each of its lines is. What inductor generates knows neither.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

__all__ = ["GRAPH", "Line", "lines", "scope"]

GRAPH = "<eval_with_key"
"""How the file names of generated Python begin."""

Line = tuple[CodeType, int]

_LINE = re.compile(r'^  File "(.+)", line (\d+), in (.+)$', re.MULTILINE)
_RESUMED = re.compile(r"torch_dynamo_resume_in_(.+)_at_\d+$")

_MOST = 1024
"""Of how many places the lines are remembered."""

_found: dict[tuple[int, int], tuple[CodeType, tuple[Line, ...]]] = {}


def lines(frame: FrameType) -> tuple[Line, ...]:
    """The lines that a graph's present instruction was made of, the innermost first.

    Args:
        frame: Runs a graph.

    Returns:
        Code that has the file and the name of each, and the line; empty if unknown. The last one is
        that of the function whose frame is above.
    """
    code, key = frame.f_code, (id(frame.f_code), frame.f_lasti)
    known, found = _found.get(key, (None, ()))
    if known is not code:
        if len(_found) >= _MOST:
            _found.clear()
        trace = _trace(frame) or ""
        told = reversed(_LINE.findall(trace))
        found = tuple((_standing(file, name), int(line)) for file, line, name in told)
        _found[key] = code, found
    return found


def scope(name: str) -> str:
    """The name of a function of which Dynamo runs the rest after a break, or of any other."""
    resumed = _RESUMED.match(name)
    return resumed[1] if resumed else name


def _trace(frame: FrameType) -> str | None:
    """The traceback that the node in a line of a graph's code has kept.

    (The names of the line map, and of its first line, are private in torch 2.9 to 2.15. Torch 2.9
    has no name for the first line: it is where the function begins.)
    """
    module: Any = frame.f_locals.get("self")
    numbers: dict[int, int | None] = getattr(module, "_lineno_map", None) or {}
    first = getattr(module, "_prologue_start", frame.f_code.co_firstlineno)
    index = numbers.get(frame.f_lineno - first)
    nodes = [*module.graph.nodes] if index is not None else []
    if index is None or index >= len(nodes):
        return None
    trace: str | None = nodes[index].stack_trace
    return trace


@lru_cache(maxsize=1024)
def _standing(file: str, name: str) -> CodeType:
    """Code that has no other use than its file and its name."""
    return lines.__code__.replace(co_filename=file, co_name=name)
