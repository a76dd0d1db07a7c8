"""What happens on a rank when an answer is checked: it is tried, and judged where its values are.

No tensor leaves the rank: what travels is which mistake it is, and a short text.
"""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

from rankbook.teach.definitions import Exercise, Lesson
from rankbook.teach.forms import plain
from rankbook.teach.here import Ended, Here
from rankbook.teach.watching import Started

__all__ = ["agree", "as_part", "in_words", "judge"]

_WIDTH = 60


def judge(module: str, name: str, names: dict[str, Any], **cell: Any) -> str:
    """Try an answer on this rank.

    Args:
        module: Where the lesson is defined.
        name: Of the exercise or prediction.
        names: The learner's variables.
        **cell: How the cell ended that answers a prediction, as :class:`Ended` has it.

    Returns:
        JSON: for an exercise ``finding``, ``got``, ``want`` and ``notes``, or ``lacks``; for a
        prediction ``truth``.
    """
    lesson: Lesson = import_module(module).LESSON
    item, here = lesson.find(name), Here(names, Ended(**cell))
    if not isinstance(item, Exercise):
        return json.dumps({"truth": plain(item.truth(here))})
    if lacking := here.lacks(item.needs):
        return json.dumps({"lacks": lacking})
    started = Started(here)
    with started.watching():
        got = item.tries(here)
    here.note(unwaited=started.unwaited)
    want = item.right(here)
    finding = _finding(item, here, got, want)
    report = {"finding": finding, "notes": here.notes}
    if finding != "right":
        words, report["want"] = in_words(got, want, item.tolerance)
        part = as_part(item, got, want)
        comma = "," if part and words.endswith("which is no tensor") else ""
        report["got"] = f"{words}{comma}{part}"
    return json.dumps(report)


def _finding(exercise: Exercise, here: Here, got: Any, want: Any) -> str:
    if agree(got, want, exercise.tolerance):
        return "right"
    for mistake in exercise.mistakes:
        if mistake.gives and agree(got, mistake.gives(here), exercise.tolerance):
            return mistake.name
    return "other"


def agree(got: Any, want: Any, tolerance: float) -> bool:
    """Whether two values are the same: tensors, numbers, and lists, tuples and dicts of them.

    Args:
        got: The value.
        want: What is right.
        tolerance: Relative to that.
    """
    import torch

    if isinstance(want, torch.Tensor):
        return (
            isinstance(got, torch.Tensor)
            and got.shape == want.shape
            and got.is_floating_point() == want.is_floating_point()
            and torch.allclose(got.detach().double(), want.double(), rtol=tolerance, atol=tolerance)
        )
    if isinstance(want, (list, tuple)):
        return (
            isinstance(got, (list, tuple))
            and len(got) == len(want)
            and all(agree(g, w, tolerance) for g, w in zip(got, want, strict=True))
        )
    if isinstance(want, float):
        return isinstance(got, (int, float)) and abs(got - want) <= tolerance * max(1.0, abs(want))
    try:
        return bool(got == want)
    except (RuntimeError, ValueError):  # a tensor or an array of several numbers is neither
        return False


def in_words(got: Any, want: Any, tolerance: float) -> tuple[str, str]:
    """A wrong value, and what is right, each in a line.

    Of several tensors the first that differs is shown, and of a long list its first entry that
    does, with its place.

    Args:
        got: The value.
        want: What is right.
        tolerance: Relative to that.
    """
    if _are_lists(got, want) and len(got) == len(want):
        pairs = enumerate(zip(got, want, strict=True))
        i = next(i for i, pair in pairs if not agree(*pair, tolerance))
        if _has_tensors(want):
            return in_words(got[i], want[i], tolerance)
        if len(_rounded(want)) > _WIDTH:
            return f"{_cut(_rounded(got[i]))} in place {i}", f"{_cut(_rounded(want[i]))} there"
    if _are_lists(got, want) and min(len(_rounded(got)), len(_rounded(want))) > _WIDTH:
        return f"a list of {len(got)}", f"a list of {len(want)}"  # cut, they might look the same
    short = _short(got, beside=want), _short(want)
    return _first_that_differs(got, want, tolerance) if short[0] == short[1] else short


def as_part(exercise: Exercise, got: Any, want: Any) -> str:
    """Which of several things it is that is wrong: `` as the gradient of x``.

    Args:
        exercise: It names them; empty where it does not.
        got: The values.
        want: What is right.
    """
    if not (exercise.parts and _are_lists(got) and len(got) == len(want) and _has_tensors(want)):
        return ""
    parts = zip(exercise.parts, got, want, strict=True)
    return next(f" as {part}" for part, g, w in parts if not agree(g, w, exercise.tolerance))


def _first_that_differs(got: Any, want: Any, tolerance: float) -> tuple[str, str]:
    """Where tensors differ that begin alike."""
    import torch

    if not isinstance(got, torch.Tensor) or not isinstance(want, torch.Tensor):
        return _short(got), _short(want)
    one, other = got.detach().double().flatten(), want.double().flatten()
    far = ~torch.isclose(one, other, rtol=tolerance, atol=tolerance)
    i = int(far.int().argmax())
    return f"{one[i]:.7g} in place {i}", f"{other[i]:.7g} there"


def _are_lists(*values: Any) -> bool:
    return all(isinstance(value, (list, tuple)) for value in values)


def _has_tensors(value: Any) -> bool:
    import torch

    if _are_lists(value):
        return any(map(_has_tensors, value))
    return isinstance(value, torch.Tensor)


def _short(value: Any, *, beside: Any = None) -> str:
    """A value in one line.

    Args:
        value: Any.
        beside: What should stand there; the type or the shape is told where that differs.
    """
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() > 8:  # noqa: PLR2004 - what fits into a line
            begins = f"{_rounded(value.flatten()[:4])}{_of_another_type(value, beside)}"
            return f"a tensor of shape {tuple(value.shape)} that begins {begins}"
        return (
            f"{_rounded(value)}{_of_another_shape(value, beside)}{_of_another_type(value, beside)}"
        )
    if isinstance(beside, torch.Tensor) and value is not None:
        return f"{_of_type(value)} {_cut(_rounded(value))}, which is no tensor"
    if _has_tensors(value):
        return " and ".join(map(_short, value))
    return _cut(_rounded(value))


def _of_another_shape(value: Any, beside: Any) -> str:
    is_other = getattr(beside, "shape", value.shape) != value.shape
    return f" of shape {tuple(value.shape)}" if is_other else ""


def _of_another_type(value: Any, beside: Any) -> str:
    import torch

    is_tensor = isinstance(beside, torch.Tensor)
    is_other = is_tensor and beside.is_floating_point() != value.is_floating_point()
    return f" of {value.dtype}" if is_other else ""


def _of_type(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _rounded(value: Any) -> str:
    """A value whose numbers have few digits."""
    import torch

    if isinstance(value, torch.Tensor):
        value = value.detach().tolist()
    if isinstance(value, list):
        return f"[{', '.join(map(_rounded, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_rounded, value))})"
    # Without the address, which differs on every rank.
    return f"{value:.5g}" if isinstance(value, float) else re.sub(r" at 0x\w+", "", repr(value))
