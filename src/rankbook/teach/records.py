"""The progress of one lesson: predictions with their time and hash, checks, hints; kept in a file.

The file lies beside the notebook and is written whole, so that it is never half-made. Where it
cannot be written, the progress lasts as long as the kernel, and that is said once.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

__all__ = ["Attempts", "Book", "Locked"]

_VERSION = 1


@dataclass(frozen=True)
class Locked:
    """A prediction, as it was locked."""

    value: Any
    at: str
    """When, in ISO 8601 with the zone."""
    late: bool
    """Whether its cell had run already."""
    hash: str
    """Of the above, the name, and the prediction before it."""


@dataclass(frozen=True)
class Attempts:
    """What was tried on one exercise, or whether a prediction was held against the truth."""

    tries: int = 0
    passed: str = ""
    """When it was right first; empty: not yet."""
    hints: int = 0
    """The highest hint that was read."""
    mistakes: tuple[str, ...] = ()
    """Those that were recognised, in their order."""


@dataclass
class Book:
    """The progress of one lesson.

    Attributes:
        path: Where it is kept; None: only in memory.
        note: What to say about the file, once; empty if nothing is the matter.
    """

    lesson: str
    path: Path | None = None
    predictions: dict[str, list[Locked]] = field(default_factory=dict)
    attempts: dict[str, Attempts] = field(default_factory=dict)
    note: str = ""

    @classmethod
    def open(cls, lesson: str, folder: str | os.PathLike[str] | None) -> Book:
        """Read the progress that is kept in a folder, or begin.

        Args:
            lesson: Its name.
            folder: Where the notebook is; None: keep nothing in a file.
        """
        if folder is None:
            return cls(lesson)
        path = Path(folder).absolute() / f"{lesson}.progress.json"
        book = cls(lesson, path)
        try:
            book._load(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:  # this lesson begins
            pass
        except OSError as error:
            book._keep_in_memory(error)
        except (ValueError, KeyError, TypeError, AttributeError):
            book._set_aside()
        return book

    def _load(self, kept: dict[str, Any]) -> None:
        if kept["version"] != _VERSION:
            raise ValueError(kept["version"])
        predictions = {
            name: [Locked(**each) for each in chain] for name, chain in kept["predictions"].items()
        }
        attempts = {
            name: Attempts(**{**each, "mistakes": tuple(each["mistakes"])})
            for name, each in kept["exercises"].items()
        }
        self.predictions, self.attempts = predictions, attempts

    def _set_aside(self) -> None:
        assert self.path is not None  # noqa: S101 - it was read from there
        aside = self.path.with_suffix(".unreadable.json")
        try:
            self.path.replace(aside)
        except OSError as error:
            self._keep_in_memory(error)
        else:
            self.note = (
                f"The progress in {self.path.name} could not be read: it is now {aside.name}, and "
                "the lesson begins at its start."
            )

    def _keep_in_memory(self, error: OSError) -> None:
        where = self.path.parent if self.path else "the folder"
        reason = error.strerror or str(error)
        self.note = (
            f"Progress lasts until this kernel ends: it cannot be kept in {where} ({reason})."
        )
        self.path = None

    def save(self) -> None:
        """Write the file."""
        if self.path is None:
            return
        kept = {
            "version": _VERSION,
            "lesson": self.lesson,
            "predictions": {
                name: [asdict(each) for each in chain] for name, chain in self.predictions.items()
            },
            "exercises": {name: asdict(each) for name, each in self.attempts.items()},
        }
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
            draft.replace(self.path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            self._keep_in_memory(error)

    def lock(self, name: str, value: Any, *, late: bool) -> Locked:
        """Lock a prediction. The same one again changes nothing."""
        chain = self.predictions.setdefault(name, [])
        if chain and chain[-1].value == value:
            return chain[-1]
        at = now()
        before = chain[-1].hash if chain else ""
        locked = Locked(value, at, late, _hash(name, value, at, late=late, before=before))
        chain.append(locked)
        self.save()
        return locked

    def valid(self, name: str) -> Locked | None:
        """The prediction that counts: the last one that was locked before its cell ran.

        If none was, the first that was locked afterwards.
        """
        chain = self.predictions.get(name, [])
        early = [each for each in chain if not each.late]
        return early[-1] if early else chain[0] if chain else None

    def is_genuine(self, name: str) -> bool:
        """Whether the predictions of a name are as they were locked."""
        before = ""
        for each in self.predictions.get(name, []):
            if each.hash != _hash(name, each.value, each.at, late=each.late, before=before):
                return False
            before = each.hash
        return True

    def tried(self, name: str, *, ok: bool, mistake: str = "") -> None:
        """Note that an answer was checked."""
        known = self.attempts.get(name, Attempts())
        mistakes = (*known.mistakes, mistake) if mistake else known.mistakes
        passed = known.passed or (now() if ok else "")
        self.attempts[name] = replace(
            known, tries=known.tries + 1, passed=passed, mistakes=mistakes[-20:]
        )
        self.save()

    def hinted(self, name: str, number: int) -> None:
        """Note that a hint was read."""
        known = self.attempts.get(name, Attempts())
        self.attempts[name] = replace(known, hints=max(known.hints, number))
        self.save()

    def has_passed(self, name: str) -> bool:
        """Whether an exercise was right once, or a prediction was held against the truth."""
        return bool(self.attempts.get(name, Attempts()).passed)


def now() -> str:
    """The present time, in ISO 8601 with the zone."""
    return datetime.now(timezone.utc).astimezone().isoformat(timespec="seconds")


def _hash(name: str, value: Any, at: str, *, late: bool, before: str) -> str:
    text = json.dumps([name, value, at, late, before], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
