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
"""By shape, with a contrast of 3 or more on the backgrounds of light and dark themes."""

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
        mesh: By whose dimensions the ranks are named, where that is possible.

    Returns:
        A MIME bundle and its metadata.
    """
    label = f"[{rank_selection.label(ranks, mesh)}]"
    return {"text/plain": label, "text/html": f'<div style="{_CAPTION}">{label}</div>'}, {}


def sentence(text: str) -> str:
    """A sentence of ours as HTML: what stands between backticks is code.

    For what quotes a person's own line use ``html.escape``: backticks in it are theirs.
    """
    return _CODE.sub(r"<code>\1</code>", escape(text))


def heading(text: str, *, shape: str = "", below: str = "") -> str:
    """A line that stands alone where there are no rows for a table; see :func:`table`."""
    return f'<div style="font-weight: 600; padding: 4px 0">{_titled(text, shape, below)}</div>'


def mark(shape: str) -> str:
    """A shape before the words that it stands for, in its colour."""
    colour = COLOURS.get(shape, "inherit")
    return f'<span style="color: {colour}" aria-hidden="true">{shape}</span>'


def table(
    title: str, head: Iterable[tuple[str, str]], rows: str, *, shape: str = "", below: str = ""
) -> str:
    """A table whose every style is inline, so that it survives in a saved notebook.

    Args:
        title: What it shows, in words.
        head: Of every column its name and its style.
        rows: The rows below, as HTML.
        shape: What stands before the title, see :func:`mark`; empty for nothing.
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
