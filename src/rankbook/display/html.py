"""HTML that looks right in light and dark themes, and without any style sheet at all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Any

from rankbook import ranks as rank_selection
from rankbook.models.meshes import NamedMesh

__all__ = [
    "COLOURS",
    "ERROR",
    "QUIET",
    "caption",
    "heading",
    "mark",
    "of_display",
    "sentence",
    "table",
]

QUIET = "var(--jp-ui-font-color2, #6b7280)"
"""For words that matter less."""

ERROR = "var(--jp-error-color1, #d32f2f)"
"""For errors."""

_IMAGES = ("image/png", "image/jpeg", "image/gif")

_LINE = "var(--jp-border-color2, #d1d5db)"

COLOURS = {
    "●": "#16a34a",
    "▶": "#3b82f6",
    "⇄": "#8b5cf6",
    "‖": "#c2650c",
    "■": "#c2650c",
    "?": "#c2650c",
    "◇": "#c2650c",
    "◆": "#e5383b",
    "✕": "#e5383b",
}
"""Colours by shape, with a contrast of 3 or more on light and dark backgrounds."""

_CODE = re.compile("`([^`\n]+)`")

_CAPTION = (
    f"font: 12px var(--jp-code-font-family, monospace); color: {QUIET}; "
    f"border-top: 1px solid {_LINE}; margin-top: 6px; padding-top: 2px"
)


def caption(
    ranks: Iterable[int], mesh: NamedMesh | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line above a rich output that names its ranks.

    Args:
        ranks: Whose output it is.
        mesh: Its dimensions name the ranks, where that is possible.

    Returns:
        A MIME bundle and its metadata.
    """
    label = f"[{rank_selection.label(ranks, mesh)}]"
    return {"text/plain": label, "text/html": f'<div style="{_CAPTION}">{label}</div>'}, {}


def sentence(text: str) -> str:
    """One of our sentences as HTML: text between backticks is code.

    Where a user's line is quoted, use ``html.escape``: its backticks are not ours.
    """
    return _CODE.sub(r"<code>\1</code>", escape(text))


def heading(text: str, *, shape: str = "", below: str = "") -> str:
    """A title without a table, where there are no rows; see :func:`table`."""
    return f'<div style="font-weight: 600; padding: 4px 0">{_titled(text, shape, below)}</div>'


def mark(shape: str) -> str:
    """A shape in its colour, to go before the words that it stands for."""
    colour = COLOURS.get(shape, "inherit")
    return f'<span style="color: {colour}" aria-hidden="true">{shape}</span>'


def table(
    title: str, head: Iterable[tuple[str, str]], rows: str, *, shape: str = "", below: str = ""
) -> str:
    """A table with inline styles only, so that it survives in a saved notebook.

    Args:
        title: What it shows, in words.
        head: The name and style of every column.
        rows: The rows below, as HTML.
        shape: The shape before the title, see :func:`mark`; empty for none.
        below: A sentence below the title that matters less; empty for none.
    """
    cells = "".join(
        f'<th scope="col" style="{style}; color: {QUIET}; font-weight: 500; '
        f'border-bottom: 1px solid {_LINE}">{escape(name)}</th>'
        for name, style in head
    )
    return (
        f'<table style="border-collapse: collapse; font-size: 13px; margin: 4px 0">'
        f'<caption style="text-align: left; caption-side: top; padding: 2px 0 6px; '
        f'font-weight: 600; color: inherit">{_titled(title, shape, below)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _titled(title: str, shape: str, below: str) -> str:
    before = f"{mark(shape)} " if shape else ""
    after = f'<div style="font-weight: 400">{sentence(below)}</div>' if below else ""
    return f"{before}{escape(title)}{after}"


def of_display(data: dict[str, Any], metadata: dict[str, Any]) -> str:
    """A display as a piece of HTML; empty: it cannot be one.

    Args:
        data: By MIME type.
        metadata: By MIME type, too.
    """
    if html := data.get("text/html") or data.get("image/svg+xml"):
        return f"<div>{html}</div>"
    for kind in _IMAGES:
        if image := data.get(kind):
            alt, about = escape(data.get("text/plain", "")), metadata.get(kind, {})
            size = "".join(
                f' {name}="{about[name]}"' for name in ("width", "height") if name in about
            )
            return f'<div><img alt="{alt}" src="data:{kind};base64,{image.strip()}"{size}></div>'
    return ""
