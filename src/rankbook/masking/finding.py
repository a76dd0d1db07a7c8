"""Finding secrets in a text, which may be code, or a part of some."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rankbook.masking.words import is_random, is_secret_name, is_strong, is_telling

__all__ = ["Span", "spans"]

_NAME = re.compile(r"[A-Za-z_][\w-]*")

_GAP = re.compile(
    r"""
    (?P<quote>\\?["'])?[ \t]*\]?                       # the end of "token" or environ["TOKEN"]
    (?:(?:[ \t]*,[ \t]*[\w.*]+)+[ \t]+=[ \t]+         # token, user = ...
    |[ \t]*(?:==|!=|:=|=>|[=:(]|(?(quote),|(?!)))\s*)  # a comma only in setenv("TOKEN", ...)
    """,
    re.VERBOSE,
)

_QUOTED = r"""
    \"{3}(?P<a>(?:\\.|[^\\])*?)(?:\"{3}|\Z) | '{3}(?P<b>(?:\\.|[^\\])*?)(?:'{3}|\Z)
    | \\"(?P<c>[^"\\\n]*)\\" | \\'(?P<d>[^'\\\n]*)\\'
    | "(?P<e>(?:\\.|[^"\\\n])*)(?:"|$) | '(?P<f>(?:\\.|[^'\\\n])*)(?:'|$)
"""

_LEXEME = re.compile(
    rf"(?:{_QUOTED}) | \\\n | (?P<open>[\[({{]) | (?P<close>[\])}}]) | (?P<end>[\n;])"
    r"| (?P<comma>,) | \#[^\n]*",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)

_BARE = re.compile(r"=(?P<secret>[^\s\"'`&;,()\[\]{}<>$=]+)(?=[\s\"'&;`<\\]|$)")
"""``TOKEN=abc`` in a shell command or a URL; followed by ``,`` or ``)`` it is a name in Python."""

_PREFIX = re.compile(r"[rbfu]{1,2}(?=[\"'])", re.IGNORECASE)
"""What may stand before a text in quotes."""

_GOES_ON = re.compile(r"[ \t]+(?:if|or|and|else)\b")

_OPTION = re.compile(r"[ =]+(?P<secret>[^\s\"'`&;|$]+)")
"""What follows ``--token``."""

_AFTER_COLON = re.compile(r"\s*:\s+(?P<secret>(?=\S*\d)[^\s\"'`;,()\[\]{}]{6,})")
"""``password: abc123`` in a header, a YAML text, a comment."""

_EXPRESSIONS = frozenset({"None", "True", "False", "lambda", "not", "await", "self"})

_BY_LOOKS = [
    re.compile(pattern)
    for pattern in (
        r"\b[A-Za-z][A-Za-z0-9+.-]*://(?P<secret>[^\s/@\"'<>]+)@",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<secret>[\s\S]*?)(?:-----END|\Z)",
        r"\b(?P<secret>eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?)",
        r"\b(?P<secret>(?:hf_|gh[opsur]_|github_pat_|glpat-|sk-|xox[abeprs]-)[\w-]{10,})",
        r"\b(?P<secret>(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[\w-]{30,}|ya29\.[\w-]{20,})",
        r"(?i)\bauthorization[\"'\\]*\s*[:=]\s*[\"'\\]*[a-z]+ +(?P<secret>[^\s\"'\\]+)",
        r"(?i)\bbearer +(?P<secret>[\w.~+/=-]{16,})",
        r"(?:^|\s)(?:-u|--user)[ =]+[\"']?[^\s:\"']+:(?P<secret>[^\s\"']+)",
        r"(?i)(?<!\w)(?P<secret>(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{32,})(?!\w)",
    )
]

_SET_ENV = re.compile(
    r"^[ \t]*%(?:set_)?env[ \t]+(?P<name>\w+)[ \t=]+(?P<secret>\S.*)$", re.MULTILINE
)

_RUN = re.compile(r"(?<![\w+/-])[A-Za-z0-9+/_-]{24,}={0,2}")
_QUOTE = re.compile(r"(?<!\\)[\"']")

_BACK = 1000
"""Characters before a name in which it is looked for quotes around it."""

_FURTHEST = 3000
"""Characters after a name in which it is looked for what is given to it."""


class Span(NamedTuple):
    """Where a secret stands in a text."""

    start: int
    end: int
    is_sure: bool
    """Whether the same characters are a secret wherever they stand."""


def spans(text: str) -> Iterator[Span]:
    """Where secrets stand in a text, in no order; some may overlap."""
    for pattern in _BY_LOOKS:
        for match in pattern.finditer(text):
            yield Span(*match.span("secret"), is_telling(match["secret"]))
    for match in _RUN.finditer(text):
        if is_random(match[0]):
            yield Span(*match.span(), is_sure=True)
    for match in _SET_ENV.finditer(text):
        if is_secret_name(match["name"]):
            yield Span(*match.span("secret"), is_telling(match["secret"]))
    for match in _NAME.finditer(text):
        if is_secret_name(match[0]):
            yield from _assigned(text, match[0], match.start(), match.end())


def _assigned(text: str, name: str, start: int, end: int) -> Iterator[Span]:
    """What is given to a name: in Python its texts, in a shell command a word."""
    strong = is_strong(name)
    bare = _BARE.match(text, end) or (strong and _AFTER_COLON.match(text, end))
    if text[max(0, start - 1) : start] == "-":
        bare = bare or _OPTION.match(text, end)
    if bare and not _PREFIX.match(text, bare.start("secret")):
        if bare["secret"] not in _EXPRESSIONS:
            yield Span(*bare.span("secret"), strong and is_telling(bare["secret"]))
        if not _GOES_ON.match(text, bare.end()):
            return
    gap = _GAP.match(text, end)
    if not gap:
        return
    # Inside of a text in quotes what is given to the name ends with that, if it is not in quotes.
    limit = None if text[gap.end() : gap.end() + 1] in "\"'" else _end_of_quotes(text, start, end)
    for first, last, is_direct in _literals(text, gap.end(), gap[0], limit):
        if is_direct or (strong and not is_secret_name(text[first:last])):
            yield Span(first, last, strong and is_telling(text[first:last]))


def _end_of_quotes(text: str, start: int, end: int) -> int | None:
    """Where the text in quotes ends inside of which a name stands; None if it is in none."""
    opened = ""
    for match in _QUOTE.finditer(text, max(text.rfind("\n", 0, start) + 1, start - _BACK), start):
        opened = "" if opened == match[0] else opened or match[0]
    if not opened or text.startswith(opened, end):  # in none, or all that is in it
        return None
    return next((m.start() for m in _QUOTE.finditer(text, end) if m[0] == opened), None)


def _literals(text: str, at: int, gap: str, limit: int | None) -> Iterator[tuple[int, int, bool]]:
    """The texts in quotes of an expression, and whether nothing but brackets stands before."""
    depth, is_direct = 0, True
    is_statement = gap.endswith("= ")  # in a call, without spaces, a comma ends what is given
    for match in _LEXEME.finditer(text, at, min(limit or len(text), at + _FURTHEST)):
        if text[at : match.start()].strip("rRbBfFuU+ \t\n"):
            is_direct = False
        at = match.end()
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
        elif group := next((name for name in "abcdef" if match[name] is not None), None):
            yield *match.span(group), is_direct
        if depth < 0 or (depth == 0 and (match["end"] or (match["comma"] and not is_statement))):
            return
