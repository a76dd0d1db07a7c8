"""HTML that looks right in light and dark themes, and without any style sheet at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rankbook import ranks as rank_selection

__all__ = ["caption"]

_CAPTION = (
    "font: 12px var(--jp-code-font-family, monospace); "
    "color: var(--jp-ui-font-color2, #6b7280); "
    "border-top: 1px solid var(--jp-border-color2, #d1d5db); "
    "margin-top: 6px; padding-top: 2px"
)


def caption(ranks: Iterable[int]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line above something rich that says which ranks it comes from.

    Returns:
        A MIME bundle and its metadata.
    """
    label = f"[{rank_selection.label(ranks)}]"
    return {"text/plain": label, "text/html": f'<div style="{_CAPTION}">{label}</div>'}, {}
