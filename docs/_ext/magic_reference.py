"""Writes the reference of the magics: their own help, as ``%magic?`` shows it, in Markdown.

A page says where with the marker below; Sphinx reads the page after it has been filled in.
"""  # noqa: INP001 - Sphinx finds extensions by path

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rankbook.magics import RankMagics

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARKER = "<!-- magics -->"

_TYPED = re.compile(r"%{1,2}[a-z_]+(?: EXPR\b)?|--[a-z][a-z-]*")


def names(method: str) -> list[str]:
    """How a magic is written: ``%dist``, ``%%dist``."""
    marks = {"line": "%", "cell": "%%"}
    return [mark + method for kind, mark in marks.items() if method in RankMagics.magics[kind]]


def methods() -> dict[str, Callable[..., Any]]:
    """The magics, in the order of the source."""
    found = {name for kind in RankMagics.magics.values() for name in kind}
    return {name: getattr(RankMagics, name) for name in vars(RankMagics) if name in found}


def options(method: Callable[..., Any]) -> list[tuple[str, str]]:
    """Every argument of a magic as a person writes it, and its help."""
    parser = getattr(method, "parser", None)
    if parser is None:
        return []
    # The list has had this name since argparse exists; format_help() would break its lines.
    return [_written(action) for action in parser._actions]  # noqa: SLF001


def page() -> str:
    """The reference of all magics."""
    return "\n".join(_section(name, method) for name, method in methods().items())


def _written(action: argparse.Action) -> tuple[str, str]:
    meaning = str(action.help or "").replace("%%", "%")  # as argparse itself shows it
    if not action.option_strings:
        what = " or ".join(action.choices or [str(action.metavar or action.dest).upper()])
        return what + ("…" if action.nargs in {"*", "+"} else ""), meaning
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(option + value for option in action.option_strings), meaning


def _section(name: str, method: Callable[..., Any]) -> str:
    parser = getattr(method, "parser", None)
    described = (parser.description if parser else method.__doc__) or ""
    text, _, example = inspect.cleandoc(described).partition("Examples::\n")
    lines = [f"## {', '.join(f'`{each}`' for each in names(name))}", "", _code(text.strip()), ""]
    if rows := options(method):
        lines += ["| write | meaning |", "|---|---|"]
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
