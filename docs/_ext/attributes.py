"""Attributes with what stands below them as it stands there.

Napoleon takes what is before a colon for a type: ``On a rank: its value`` would be of the type
"On a rank". Ours have annotations for that.
"""

from __future__ import annotations

from typing import Any

__all__ = ["setup"]

_KINDS = {"attribute", "data", "property"}

_kept: dict[str, list[str]] = {}


def _keep(_app: Any, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if what in _KINDS:
        _kept[name] = lines[:]


def _restore(_app: Any, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if what in _KINDS:
        lines[:] = _kept.pop(name)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _keep, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", _restore, priority=600)
    return {"parallel_read_safe": True}
