"""The file of a report: self-describing JSON that only its owner can read."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from rankbook.errors import ReportError
from rankbook.models import load
from rankbook.models.report import Report
from rankbook.protocol import as_json

__all__ = ["FORMAT", "read", "refuse", "write"]

FORMAT = 1
"""The file's format; another one may have other fields."""

_MARK = "rankbook_report"
_BEGINS = re.compile(rf'\s*\{{\s*"{_MARK}"\s*:')

_Report = TypeVar("_Report", bound=Report)


def refuse(path: str | os.PathLike[str]) -> Path:
    """Return where a report can be saved.

    Raises:
        ReportError: It cannot be saved there, or an existing file is not a report.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        raise ReportError(f"{place} is a folder: name a file in it, such as {place / 'hang.json'}.")
    if not place.parent.is_dir():
        raise ReportError(f"There is no folder {place.parent}: make it, or choose another place.")
    if place.exists() and not (place.is_file() and _BEGINS.match(_beginning(place))):
        raise ReportError(f"{place} exists and is not a report: choose another name.")
    return place


def write(place: Path, about: str, data: Mapping[str, Any]) -> None:
    """Write a report; a reader finds either an older report or all of this one.

    Args:
        place: The path from :func:`refuse`.
        about: What it contains, for readers who open the file in an editor.
        data: The report as ``to_dict`` gives it.

    Raises:
        ReportError: It cannot be written.
    """
    text = json.dumps(
        as_json({_MARK: FORMAT, "about": about, **data}), indent=1, ensure_ascii=False
    )
    try:
        # mkstemp gives it mode 0600.
        number, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(f"{text}\n")
            Path(name).replace(place)
        except BaseException:
            with suppress(OSError):  # the error that is raised says more
                Path(name).unlink()
            raise
    except OSError as error:
        raise ReportError(f"{place} cannot be written: {error.strerror or error}.") from None


def read(path: str | os.PathLike[str], cls: type[_Report]) -> _Report:
    """Read a report.

    Args:
        path: Where it was saved.
        cls: The class to load it as.

    Raises:
        ReportError: It cannot be read, or is not a report of this format.
    """
    place = Path(path).expanduser()
    try:
        text = place.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ReportError(f"{place} is not a report of rankbook.") from None
    except OSError as error:
        raise ReportError(f"{place} cannot be read: {error.strerror or error}.") from None
    if not _BEGINS.match(text):
        raise ReportError(f"{place} is not a report of rankbook.")
    damaged = ReportError(f"{place} is damaged: save the report again, or copy the file again.")
    try:
        data = json.loads(text)
    except ValueError:
        raise damaged from None
    if data[_MARK] != FORMAT:
        versions = data.get("versions")
        by = versions.get("rankbook") if isinstance(versions, dict) else None
        raise ReportError(
            f"{place} is a report of format {data[_MARK]!r}, and this rankbook reads {FORMAT}: "
            f"load it with {f'rankbook {by}' if by else 'the version'} that saved it."
        )
    try:
        report = load(cls, data)
    except (AttributeError, TypeError, ValueError):
        raise damaged from None
    if not _fits(cls, report):
        raise damaged
    return report


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value matches a type hint of a model; a file can hold anything."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(each, value) for each in args)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return isinstance(value, typing.cast("type[Any]", hint)) and all(
            _fits(hints[field.name], getattr(value, field.name))
            for field in dataclasses.fields(hint)
        )
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = args[:1] * len(value) if args[-1] is Ellipsis else args
        return len(each) == len(value) and all(map(_fits, each, value))
    if origin is Mapping:
        pairs = value.items() if isinstance(value, dict) else [(None, None)]
        return all(_fits(args[0], key) and _fits(args[1], one) for key, one in pairs)
    allowed = (int, float) if hint is float else hint
    return isinstance(value, allowed) and isinstance(value, bool) == (hint is bool)


def _beginning(place: Path) -> str:
    try:
        with place.open(encoding="utf-8", errors="replace") as file:
            return file.read(100)
    except OSError as error:
        raise ReportError(f"{place} cannot be read: {error.strerror or error}.") from None
