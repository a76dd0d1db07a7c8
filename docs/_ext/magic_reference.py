"""Writes the reference of the magics: their own help, as ``%magic?`` shows it, in Markdown.

A page says where with the marker below; Sphinx reads the page after it has been filled in.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.magics import families
from rankbook.magics.options import Option

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARKER = "<!-- magics -->"

_TYPED = re.compile(r"%{1,2}[a-z_]+(?: EXPR\b)?|--[a-z][a-z-]*|\b__[a-z]+__\b")


def names(method: str) -> list[str]:
    """How a magic is written: ``%dist``, ``%%dist``."""
    marks = {"line": "%", "cell": "%%"}
    return [
        mark + method
        for kind, mark in marks.items()
        if any(method in family.magics[kind] for family in families())
    ]


def methods() -> dict[str, Callable[..., Any]]:
    """The magics, family by family, in the order of the source."""
    found: dict[str, Callable[..., Any]] = {}
    for family in families():
        known = {name for kind in family.magics.values() for name in kind}
        found |= {name: method for name, method in vars(family).items() if name in known}
    return found


def options(method: Callable[..., Any]) -> list[tuple[str, str]]:
    """Every argument of a magic as a person writes it, and its help."""
    return [_written(each) for each in getattr(method, "options", ())]


def page() -> str:
    """The reference of all magics."""
    return "\n".join(_section(name, method) for name, method in methods().items())


def _written(option: Option) -> tuple[str, str]:
    given = option.settings
    meaning = given["help"].replace("%%", "%")  # as argparse itself shows it
    name = given.get("metavar") or option.names[-1].lstrip("-").replace("-", "_").upper()
    if not option.names[0].startswith("-"):
        what = " or ".join(given.get("choices") or [name])
        return what + ("…" if given.get("nargs") in {"*", "+"} else ""), meaning
    value = f" {name}" if option.takes_value else ""
    return ", ".join(each + value for each in option.names), meaning


def _section(name: str, method: Callable[..., Any]) -> str:
    parser = getattr(method, "parser", None)
    described = (parser.description if parser else method.__doc__) or ""
    text, _, example = inspect.cleandoc(described).partition("Examples::\n")
    lines = [f"## {', '.join(f'`{each}`' for each in names(name))}", "", _code(text.strip()), ""]
    if rows := options(method):
        lines += ["| type | meaning |", "|---|---|"]
        lines += [f"| `{what}` | {_code(meaning)} |" for what, meaning in rows]
        lines.append("")
    if example:
        lines += ["```text", textwrap.dedent(example).strip(), "```", ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Set magics and options in code, unless they are."""
    parts = text.split("`")
    parts[::2] = [_TYPED.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def _fill(app: Sphinx, docname: str, source: list[str]) -> None:
    del app, docname
    source[0] = source[0].replace(MARKER, page())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}
