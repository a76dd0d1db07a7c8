"""Masking what looks like a secret: by the name it is given, and by how it looks.

Pure. It errs on the side of masking: a name that is masked without need costs a reader little.
What it cannot know is a secret that looks like a word and has no name: ``login("sesame")``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from rankbook.masking.finding import spans
from rankbook.masking.words import TELLING, is_secret_name, is_telling

__all__ = ["MASK", "is_secret_name", "masked", "secret_values"]

_CUT = re.compile(r" ?…|\Z")

MASK = "<masked>"
"""What stands in the place of a secret."""


def secret_values(environment: Iterable[tuple[str, str]]) -> set[str]:
    """The values of variables whose names say that they are secrets, as far as they are telling.

    A path is none: PWD is where one is, and SSH_AUTH_SOCK where an agent listens.
    """
    return {
        value
        for name, value in environment
        if is_secret_name(name) and is_telling(value) and not value.startswith("/")
    }


def masked(data: Any, known: Iterable[str] = (), plain: Collection[str] = ()) -> tuple[Any, int]:
    """Mask what looks like a secret, in every text of some data.

    A secret that has a name in one text is masked in the others, too, where it has none.

    Args:
        data: In JSON's types. A text in a dict under the name of a secret is masked whole.
        known: Texts that are secrets wherever they stand.
        plain: Names under which, in dicts, texts are left as they are.

    Returns:
        The same with :data:`MASK` in the places of secrets, and how many places those are.
    """
    texts = {text for name, text in _texts(data, "") if name not in plain}
    named = {text[s.start : s.end] for text in texts for s in spans(text) if s.is_sure}
    everywhere = {secret for secret in {*known, *named} if MASK not in secret}
    replaced = {text: _replaced(text, everywhere) for text in texts}  # ranks say the same things
    count = 0

    def copy(value: Any, name: str) -> Any:
        nonlocal count
        if isinstance(value, dict):
            return {key: copy(one, str(key)) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [copy(one, name) for one in value]
        if not isinstance(value, str) or name in plain:
            return value
        text, found = (MASK, 1) if is_secret_name(name) else replaced[value]
        count += found
        return text

    return copy(data, ""), count


def _texts(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """All texts in some data, each with the name under which it stands."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, str(key))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one, name)


def _beginnings(text: str, secret: str) -> Iterator[tuple[int, int]]:
    """Where a secret stands of which the end was cut off: lines that are shown are cut."""
    for end in (match.start() for match in _CUT.finditer(text)):
        for length in range(min(len(secret) - 1, end), TELLING - 1, -1):
            if text.startswith(secret[:length], end - length):
                yield end - length, end
                break


def _replaced(text: str, everywhere: Collection[str]) -> tuple[str, int]:
    places = [(span.start, span.end) for span in spans(text)]
    for secret in everywhere:
        places += [match.span() for match in re.finditer(re.escape(secret), text)]
        places += _beginnings(text, secret)
    parts, at, count = [], 0, 0
    for start, end in sorted(places):
        if end <= at:
            continue
        if start >= at:
            parts += [text[at:start], MASK]
            count += text[start:end] != MASK
        at = end
    return "".join([*parts, text[at:]]), count
