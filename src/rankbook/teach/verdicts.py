"""From what was tried to what is said: by rank, by target, with the hint of a known mistake.

Pure: it asks nobody, and keeps nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rankbook.errors import LessonError
from rankbook.teach.definitions import Exercise, Mistake, Seen, Target
from rankbook.teach.trying import Tried
from rankbook.teach.usual import UNWAITED
from rankbook.words import agree, in_words, plural, ranks_do

__all__ = ["Verdict", "verdict_on"]

_RIGHT = "is right"

_VERB = re.compile(r"^((?:never )?)(\w+s)\b")
_OF_MANY = {"is": "are", "has": "have", "does": "do", "its": "their", "itself": "themselves"}


@dataclass(frozen=True)
class Verdict:
    """What is said about an answer to an exercise."""

    ok: bool
    said: str
    """By rank, in a sentence: ``Ranks 0-2 are right, rank 3 has the sum twice.``"""
    reached: str = ""
    """By target, in a sentence; empty where the result is not right."""
    mistake: str = ""
    """Name of the mistake that was recognised; empty if none was."""
    hint: str = ""
    """Of that mistake."""


def verdict_on(exercise: Exercise, tried: Tried) -> Verdict:
    """Judge what was tried.

    Raises:
        LessonError: The exercise's cell has not run on all ranks.
    """
    _refuse_lacking(tried)
    findings = {
        rank: report["finding"] for rank, report in tried.said.items() if "finding" in report
    }
    notes = {rank: report.get("notes", {}) for rank, report in tried.said.items()}
    raised = {rank: name for rank, (name, _) in tried.raised.items()}
    has_ended = not (tried.hang or tried.late or raised)
    is_right = has_ended and set(findings.values()) == {"right"}
    missed = [t for t in exercise.targets if is_right and not _is_met(t, tried, notes)]
    sentences = {rank: sentence for rank, (_, sentence) in tried.raised.items()}
    names = frozenset(target.name for target in missed)
    seen = Seen(findings, tried.hang, raised, names, notes, sentences)
    if is_right and not missed:
        right = f"{ranks_do(findings, 'is', 'are').capitalize()} right."
        if unwaited := {r: its["unwaited"] for r, its in notes.items() if its.get("unwaited")}:
            calls = plural(max(unwaited.values()), "call")
            luck = f"But {in_words(unwaited)} never waited for {calls}: that it went well is luck."
            return Verdict(False, right, luck, hint=UNWAITED)  # noqa: FBT003
        return Verdict(True, right, _reached(exercise.targets, tried, notes))  # noqa: FBT003
    mistake = _recognised(exercise, seen)
    report = _said(exercise, tried, findings, mistake)
    return Verdict(
        ok=False,
        said=report,
        reached=" ".join(_missed(t, tried, notes) for t in _to_tell(missed)),
        mistake=mistake.name if mistake else "",
        hint=mistake.hint if mistake else "",
    )


def _to_tell(missed: list[Target]) -> list[Target]:
    """What to say of missed targets: those that are usually mentioned, or else the first."""
    return [target for target in missed if target.tells] or missed[:1]


def _refuse_lacking(tried: Tried) -> None:
    lacking = {rank: report["lacks"] for rank, report in tried.said.items() if "lacks" in report}
    if lacking:
        names = ", ".join(dict.fromkeys(name for each in lacking.values() for name in each))
        raise LessonError(
            f"{ranks_do(lacking, 'has', 'have').capitalize()} no {names}: run the exercise's cell "
            "on all ranks first."
        )


def _recognised(exercise: Exercise, seen: Seen) -> Mistake | None:
    """The mistake that explains what was seen: one of all ranks first, then that of most."""
    for mistake in exercise.mistakes:
        if mistake.seen and mistake.seen(seen):
            return mistake
    if seen.hang:  # what some ranks had when the others were freed tells nothing
        return None
    found = Counter(seen.findings.values())
    if "other" in found:  # what some have in common with a known mistake may be chance
        return None
    known = [m for m in exercise.mistakes if m.gives and m.name in found]
    return max(known, key=lambda mistake: found[mistake.name], default=None)


def _said(
    exercise: Exercise, tried: Tried, findings: dict[int, str], mistake: Mistake | None
) -> str:
    """What the ranks have, or did, in a sentence."""
    if tried.hang and not tried.raised:
        return tried.verdict
    groups: dict[str, list[int]] = {}  # by what is said of them
    words: dict[str, list[int]] = {}  # the same, of what a lesson says of one rank
    wanted = {tried.said[rank]["want"] for rank in findings if "want" in tried.said[rank]}
    for rank, found in sorted(findings.items()):
        if says := _in_its_words(exercise, found, mistake):
            words.setdefault(says, []).append(rank)
        else:
            got = _got(tried.said[rank], with_wanted=len(wanted) > 1)
            groups.setdefault(got, []).append(rank)
    for rank, (_, what) in sorted(tried.raised.items()):
        groups.setdefault(f"raised {what}", []).append(rank)
    for rank, where in sorted(tried.late.items()):
        what = f"did not come to an end in {exercise.timeout:.0f} s"
        groups.setdefault(f"{what} ({where})" if where else what, []).append(rank)
    of_lesson = {_agreeing(says, ranks): ranks for says, ranks in words.items()}
    groups |= of_lesson
    # What is right first, as one says it.
    ordered = sorted(groups.items(), key=lambda pair: (pair[1] != words.get(_RIGHT), pair[1]))
    text = ", ".join(f"{in_words(ranks)} {what}" for what, ranks in ordered)
    if len(wanted) == 1 and any(what.startswith("got ") for what in groups.keys() - of_lesson):
        text = f"{text}; right is {wanted.pop()}"
    return f"{text[:1].upper()}{text[1:]}."


def _in_its_words(exercise: Exercise, found: str, mistake: Mistake | None) -> str:
    """What the lesson says of a rank with this finding; empty if nothing."""
    if found == "right":
        return _RIGHT
    if mistake and mistake.seen and mistake.says:  # that another one fits the value is chance
        return mistake.says
    known = next((m for m in exercise.mistakes if m.name == found), None)
    if known and known.says:
        return known.says
    # What a mistake makes of a rank's value is not said of ranks that have another value.
    return ""


def _got(report: Mapping[str, Any], *, with_wanted: bool) -> str:
    if report["got"] == "None":
        return "returned nothing (None)"
    return f"got {report['got']}, not {report['want']}" if with_wanted else f"got {report['got']}"


def _agreeing(says: str, ranks: Iterable[int]) -> str:
    """What is said of one rank, as it is said of these: ``have their own`` for ``has its own``."""
    if agree(ranks, "one", "many") == "one":
        return says
    says = _VERB.sub(lambda found: f"{found[1]}{_OF_MANY.get(found[2], found[2][:-1])}", says)
    says = re.sub(r"\bit (?=(?:had|has|is|was)\b)", "they ", says)
    says = re.sub(r"\b(in|of|to|from) it\b", r"\1 them", says)
    return re.sub(r"\b(?:is|has|its|itself)\b", lambda found: _OF_MANY[found[0]], says)


def _is_met(target: Target, tried: Tried, notes: dict[int, dict[str, object]]) -> bool:
    return all(target.is_met(value) for value in _values(target, tried, notes).values())


def _values(target: Target, tried: Tried, notes: dict[int, dict[str, object]]) -> dict[int, float]:
    return {rank: target.value(tried.traffic[rank], notes[rank]) for rank in sorted(tried.said)}


def _missed(target: Target, tried: Tried, notes: dict[int, dict[str, object]]) -> str:
    values = _values(target, tried, notes)
    worst = [rank for rank, value in values.items() if not target.is_met(value)]
    low, high = min(values[r] for r in worst), max(values[r] for r in worst)
    enough = target.most if high > target.most else target.least
    asked = (
        f"{agree(range(round(enough)), 'is', 'are')} {'enough' if high > target.most else 'needed'}"
    )
    return f"But {in_words(worst)} had {_count(low, high, target.unit)}, where {enough:g} {asked}."


def _reached(targets: Iterable[Target], tried: Tried, notes: dict[int, dict[str, object]]) -> str:
    parts = []
    for target in (each for each in targets if each.tells):
        values = set(_values(target, tried, notes).values())
        low, high = min(values), max(values)
        parts.append(_count(low, high, target.unit))
    return f"On each rank {', '.join(parts)}." if parts else ""


def _count(low: float, high: float, unit: str) -> str:
    """Write how many: ``1 call``, ``96 bytes``, ``2 to 4 calls``."""
    if low == high == 1 and " " not in unit:
        return f"1 {unit.removesuffix('s')}"
    return f"{high:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}"
