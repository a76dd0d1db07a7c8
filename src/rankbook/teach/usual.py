"""Mistakes that are made in any exercise: what there is to say where none of its own was found."""

from __future__ import annotations

import re

from rankbook.teach.trying import Tried

__all__ = ["DOTS", "UNWAITED", "YIELDS", "usual_hint"]

DOTS = "The cell has dots left: write your code in their place. hint(1) helps to begin."

UNWAITED = (
    "Nobody waits: what async_op=True, isend and irecv return is a handle. Call its wait() before "
    "the result is used."
)

YIELDS = (
    "A function with yield returns a generator, which has not begun. Put what it yields into a "
    "list, and return that."
)

_ASYNC = re.compile(r"async_op\s*=\s*True|\b(?:isend|irecv)\(")
_COLLECTIVE = r"dist\.(?:all_reduce|broadcast|reduce|all_gather\w*|reduce_scatter\w*|all_to_all\w*)"
_RESULT_USED = re.compile(rf"(?:return|=|\()\s*{_COLLECTIVE}\(")
_RETURNS = re.compile(r"^\s+return\b.", re.MULTILINE)


def usual_hint(name: str, code: str, tried: Tried, *, is_here: bool) -> str:
    """What to say about an answer that is not right.

    Args:
        name: What the exercise's cell defines.
        code: The last cell that defined it on ranks.
        tried: What came of it.
        is_here: Whether the notebook's own process has defined it since.

    Returns:
        A hint, or nothing.
    """
    if is_here:
        return (
            f"{name} was defined in the notebook itself, and the ranks do not know it: begin its "
            "cell with %%dist."
        )
    if re.search(r"^\s*\.\.\.", code, re.MULTILINE):
        return DOTS
    if tried.hang and not tried.raised:
        return tried.advice
    if any(report.get("got", "").startswith("<generator ") for report in tried.said.values()):
        return YIELDS
    if _got_none(tried) or any("NoneType" in what for _, what in tried.raised.values()):
        return _of_none(code)
    return UNWAITED if is_unwaited(code) else ""


def is_unwaited(code: str) -> bool:
    """Whether code starts something that nobody in it waits for."""
    return bool(_ASYNC.search(code)) and not re.search(r"\.wait\(|wait_all|wait_tensor", code)


def _got_none(tried: Tried) -> bool:
    return any(report.get("got") == "None" for report in tried.said.values())


def _of_none(code: str) -> str:
    if _RESULT_USED.search(code) and "async_op" not in code:
        return (
            "Collectives of torch return None: they write into the tensor that they are given. Use "
            "that tensor."
        )
    return "" if _RETURNS.search(code) else "The function ends without a return."
