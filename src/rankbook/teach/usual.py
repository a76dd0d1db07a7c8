"""Mistakes that are made in any exercise: what there is to say where none of its own was found."""

from __future__ import annotations

import re
from collections.abc import Collection

from rankbook.teach.explained import OF_CALLS, OF_MESSAGES
from rankbook.teach.trying import Tried
from rankbook.words import in_words

__all__ = ["DOTS", "UNWAITED", "YIELDS", "usual_hint"]

DOTS = "The cell has dots left: write your code in their place. hint(1) helps to begin."

UNWAITED = (
    "Nothing waits for that call: async_op=True, isend and irecv return a handle. Call its wait() "
    "before the result is used."
)

EVERY_RANK = (
    "Every rank of the group must call a collective: look for a branch that only some ranks take "
    "(if rank == 0), and for a loop that is shorter on some."
)
"""In place of the advice on uneven shards: ranks that an answer is tried on have no shards."""

YIELDS = (
    "A function with yield returns a generator, which has not begun. Put what it yields into a "
    "list, and return that."
)

ALONE = (
    "No rank has told another anything, and a rank sees nothing of the others' variables: each "
    "runs the same code on its own. It takes a call of dist."
)

TO_ONE = (
    "dist.reduce and dist.gather leave their result on one rank, dst. What the others hold then "
    "means nothing. all_reduce and all_gather give it to every rank."
)

SAME = (
    "[t] * n is n times the same tensor, so each rank's numbers are written over those before. "
    "Make a tensor for each rank: [torch.empty_like(x) for _ in range(world_size)]."
)

RETURNS_SENDER = (
    "dist.recv writes into the tensor that it is given, and returns the rank of the sender. Do not "
    "assign what it returns: use that tensor."
)

NO_TENSOR = (
    "The function is to return a tensor. torch.cat(parts) makes one of a list of tensors, and "
    "torch.tensor(…) one of numbers."
)

ENDLESS = (
    "If it is a loop that does not end: its condition has to change in each turn, on every rank."
)

_TO_ONE = re.compile(r"\bdist\.(?:reduce|gather)\(")
_COPIES = re.compile(r"\[(?!\s*None\s*\])[^\[\]]+\]\s*\*\s*(?:world_size|\d)")
_ASYNC = re.compile(r"async_op\s*=\s*True|\b(?:isend|irecv)\(")
_COLLECTIVE = r"dist\.(?:all_reduce|broadcast|reduce|all_gather\w*|reduce_scatter\w*|all_to_all\w*)"
_RECV_USED = re.compile(r"[\w\])]\s*\+?=\s*(?:\w+\.)*recv\(")
_RESULT_USED = re.compile(rf"(?:return|=|\()\s*{_COLLECTIVE}\(")
_RETURNS = re.compile(r"^\s+return\b.", re.MULTILINE)
_METHOD = re.compile(r"^( +)def (forward|backward)\(.*\n((?:\1 .*\n?|\s*\n)*)", re.MULTILINE)
_GIVES = re.compile(r"\breturn +(?!None\b)\S")
_CALLED = re.compile(r"\bdist\.(?:ReduceOp\.)?(\w+)\b")


def usual_hint(
    name: str,
    code: str,
    tried: Tried,
    *,
    is_here: bool,
    missed: Collection[int] = (),
    communicates: bool = False,
    tools: Collection[str] = (),
) -> str:
    """What to say about an answer that is not right.

    Args:
        name: What the exercise's cell defines.
        code: The last cell that defined it on ranks.
        tried: What came of it.
        is_here: Whether the notebook's own process has defined it since.
        missed: The ranks to which that cell was not given.
        communicates: Whether a right answer tells other ranks something.
        tools: What right answers use of ``dist`` and ``ReduceOp``; empty: whatever there is.

    Returns:
        A hint, or nothing.
    """
    if hint := _of_the_cell(name, code, missed, is_here=is_here):
        return hint
    if tried.hang and not tried.raised:
        return EVERY_RANK if "uneven shards" in tried.advice else tried.advice
    if _RECV_USED.search(code):
        return RETURNS_SENDER
    if tried.late:
        return ENDLESS
    if tried.raised:
        return _of_what_was_raised(name, code, tried) or _of_other_tools(code, tools)
    return _of_the_values(code, tried, communicates=communicates) or _of_other_tools(code, tools)


def _of_the_values(code: str, tried: Tried, *, communicates: bool) -> str:
    if any(report.get("got", "").startswith("<generator ") for report in tried.said.values()):
        return YIELDS
    if _got_none(tried):
        return _of_none(code)
    if any("which is no tensor" in report.get("got", "") for report in tried.said.values()):
        return NO_TENSOR
    if any(report.get("notes", {}).get("unwaited") for report in tried.said.values()):
        return UNWAITED
    if _TO_ONE.search(code) and _is_wrong_on_all_but_one(tried):
        return TO_ONE
    has_called = any(traffic.calls for traffic in tried.traffic.values())
    return ALONE if communicates and not has_called else _of_the_calls(code)


def _of_the_calls(code: str) -> str:
    if _COPIES.search(code) and "gather" in code:
        return SAME
    return UNWAITED if is_unwaited(code) else ""


def _of_other_tools(code: str, tools: Collection[str]) -> str:
    """What the first call does that right answers do not need."""
    if not tools:
        return ""
    called = (found[1] for found in _CALLED.finditer(code))
    return next((OF_CALLS[each] for each in called if each in OF_CALLS.keys() - tools), "")


def _of_the_cell(name: str, code: str, missed: Collection[int], *, is_here: bool) -> str:
    """What there is to say about where the cell ran, or that it was left as it stood."""
    if is_here:
        return (
            f"{name} was defined in the notebook itself, and the ranks do not know it: begin its "
            "cell with %%dist."
        )
    if missed:
        return (
            f"The last cell with {name} was not given to {in_words(missed)}: run it on all ranks, "
            "with %%dist."
        )
    return DOTS if re.search(r"^\s*\.\.\.", code, re.MULTILINE) else ""


def _of_what_was_raised(name: str, code: str, tried: Tried) -> str:
    sentences = " ".join(what for _, what in tried.raised.values())
    called = rf"\b{re.escape(name)}(?:\.\w+)?\(\) (?:takes|missing|got an unexpected)"
    if re.search(called, sentences):
        return f"Keep the arguments of {name} as they were in the cell: it is called with those."
    known = (hint for words, hint in OF_MESSAGES.items() if re.search(words, sentences))
    return next(known, _of_none(code) if "NoneType" in sentences else "")


def is_unwaited(code: str) -> bool:
    """Whether code starts something that nobody in it waits for."""
    return bool(_ASYNC.search(code)) and not re.search(r"\.wait\(|wait_all|wait_tensor", code)


def _is_wrong_on_all_but_one(tried: Tried) -> bool:
    right = [report for report in tried.said.values() if report.get("finding") == "right"]
    return len(right) == 1 < len(tried.said)


def _got_none(tried: Tried) -> bool:
    """Whether a rank's value is None, or one of its parts: ``None as the gradient of x``."""
    return any(re.match(r"None\b", report.get("got", "")) for report in tried.said.values())


def _of_none(code: str) -> str:
    if _RESULT_USED.search(code) and "async_op" not in code:
        return (
            "Collectives of torch return None: they write into the tensor that they are given. Use "
            "that tensor."
        )
    for method in _METHOD.finditer(code):
        if not _GIVES.search(method[3]):
            return f"A {method[2]}() ends without a return, or returns nothing."
    is_class = code.lstrip("% \n").startswith("class") or "\nclass " in code
    return "" if is_class or _RETURNS.search(code) else "The function ends without a return."
