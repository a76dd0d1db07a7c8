"""Colours for cells: Python, with magics and shell lines, also below ``%%dist``.

IPython's own lexer knows the cell magics of IPython; a cell of any other is plain text to it.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pygments.lexer import bygroups, inherit, using
from pygments.lexers.python import PythonLexer
from pygments.lexers.shell import BashLexer
from pygments.token import Keyword, Name, Number, Operator, String, Text

__all__ = ["CellLexer", "setup"]

_CODE = r"dist|rank|time|timeit|prun|local"
"""Line magics whose line is Python, after options."""


class CellLexer(PythonLexer):
    """Python as a cell has it."""

    name = "Cell"
    aliases: ClassVar[list[str]] = []
    filenames: ClassVar[list[str]] = []
    flags = re.MULTILINE
    tokens: ClassVar[dict[str, Any]] = {
        "root": [
            (rf"^([ \t]*)(%)({_CODE})\b", bygroups(Text, Operator, Keyword), "options-then-code"),
            (r"^([ \t]*)(%%?)(\w+)", bygroups(Text, Operator, Keyword), "options"),
            (r"^([ \t]*)(!)(.*\n?)", bygroups(Text, Operator, using(BashLexer))),
            (r"(\?\??)([ \t]*)$", bygroups(Operator, Text)),
            inherit,
        ],
        "options": [
            (r"\n", Text, "#pop"),
            (r"--?[A-Za-z][\w-]*", Name.Attribute),
            (r"\"[^\"\n]*\"|'[^'\n]*'", String),
            (r"\d+(?:\.\d+)?\b", Number),
            (r"#.*", String.Doc),
            (r"\?\??", Operator),
            (r"[^\s\d\"'#?-]+|.", Text),
        ],
        "options-then-code": [
            (r"[ \t]+", Text),
            (
                r"(--?[A-Za-z][\w-]*)([ \t=]+)(\d[\d,:-]*|[\w-]+=\w+)?",
                bygroups(Name.Attribute, Text, Number),
            ),
            (r"", Text, "#pop"),
        ],
    }


def setup(app: Any) -> dict[str, Any]:
    """Have blocks of Python coloured so: those that are scripts look as before."""
    app.add_lexer("python", CellLexer)
    return {"parallel_read_safe": True}
