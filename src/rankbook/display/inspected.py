"""What a name is on ranks, merged: equal answers are shown once."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rankbook.display.text import prefixed
from rankbook.models.inspecting import Inspected
from rankbook.models.meshes import NamedMesh
from rankbook.ranks import label
from rankbook.words import in_words

__all__ = ["to_text"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+| id='\d+'")
"""The address of an object, which must not count when processes are compared."""


def to_text(name: str, found: Mapping[int, Inspected], mesh: NamedMesh | None = None) -> str:
    """The text that a front end shows for ``name?``.

    Args:
        name: What was asked for.
        found: By rank that has answered.
        mesh: Its dimensions name the ranks, too.
    """
    present = {rank: one for rank, one in found.items() if one.is_found}
    lines = []
    if absent := sorted(found.keys() - present.keys()):
        lines.append(f"{name!r} is not there on {in_words(absent, mesh)}.")
    for title in dict.fromkeys(title for one in present.values() for title in one.fields):
        told = {rank: one.fields.get(title, "(none)") for rank, one in present.items()}
        if len(told) > 1:  # forked ranks may have the same address, or not
            told = {rank: _ADDRESS.sub("", text) for rank, text in told.items()}
        alike: dict[str, list[int]] = {}
        for rank, text in told.items():
            alike.setdefault(text, []).append(rank)
        if len(alike) == 1:
            [text] = alike
            separator = "\n" if "\n" in text else " "
            lines.append(f"{title}:{separator}{text}")
        else:
            lines += [f"{title}:", *(prefixed(ranks, text, mesh) for text, ranks in alike.items())]
    return "\n".join([f"[{label(found, mesh)}] {name}", *lines])
