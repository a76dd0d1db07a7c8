"""Pictures that stay in a saved notebook: standalone SVG, as an image in HTML.

GitHub takes SVG and styles out of a notebook's HTML, and JupyterLab out of that of a notebook that
it does not trust; an image stays. It knows nothing of the page around it, so it brings its own
background, and colours that follow the browser's ``prefers-color-scheme``.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape

__all__ = ["GRID", "MONOSPACE", "QUIET", "SANS", "document", "image"]

QUIET = "var(--quiet)"
"""For words that matter less."""

GRID = "var(--grid)"
"""For lines that guide the eye."""

MONOSPACE = "ui-monospace, monospace"
SANS = "ui-sans-serif, system-ui, sans-serif"

_STYLE = (
    ".rankbook { --text: #1f2328; --quiet: #59636e; --grid: #d1d5db; --back: #fff; "
    "color: var(--text); fill: currentColor }"
    "@media (prefers-color-scheme: dark) { "
    ".rankbook { --text: #e6edf3; --quiet: #9198a1; --grid: #444c56; --back: #161b22 } }"
)


def document(
    drawn: str,
    width: float,
    height: float,
    *,
    title: str,
    description: str,
    font: str = SANS,
    size: int = 12,
    margin: int = 0,
) -> str:
    """A whole SVG document, which is also a file that every browser shows.

    Args:
        drawn: Its elements.
        width: Of these, pixels.
        height: Of these, pixels.
        title: What it shows, in a few words.
        description: All that it says, as text.
        font: The family of fonts of its text.
        size: Of its text, pixels.
        margin: Free space on each side, pixels.
    """
    wide, high = f"{width + 2 * margin:.0f}", f"{height + 2 * margin:.0f}"
    at = f"{-margin}"
    return (
        f'<svg class="rankbook" role="img" aria-label="{escape(title)}" width="{wide}" '
        f'height="{high}" viewBox="{at} {at} {wide} {high}" xmlns="http://www.w3.org/2000/svg" '
        f'font-family="{font}" font-size="{size}"><style>{_STYLE}</style>'
        f"<desc>{escape(description)}</desc>"
        f'<rect x="{at}" y="{at}" width="{wide}" height="{high}" rx="4" fill="var(--back)"/>'
        f"{drawn}</svg>"
    )


def image(svg: str, alt: str) -> str:
    """The HTML image of a document made by :func:`document`.

    Args:
        svg: The document.
        alt: What it shows, in words.
    """
    data = b64encode(svg.encode()).decode()
    return (
        f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}" style="max-width: 100%">'
    )
