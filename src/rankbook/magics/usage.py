"""A magic's arguments: its help, its parser, and one line for a user's mistake."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from argparse import Namespace
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser

from rankbook.errors import RankbookError, RankError, StuckError
from rankbook.magics.options import Option
from rankbook.magics.syntax import CellSyntaxError

__all__ = ["only_quoted_values", "parse", "parse_with_code", "parse_with_expression", "takes"]


def takes(*options: Option) -> Callable[[Callable[..., Any]], Any]:
    """Give a magic its options: its help lists them, and its errors are one line each.

    Args:
        options: What can be typed after the magic's name, in the order of the help.

    Returns:
        A decorator. The magic gets the attributes ``options`` and ``parser``.
    """

    def decorate(method: Callable[..., Any]) -> Any:
        magic: Any = _with_plain_errors(method)
        # IPython puts one % before the name in the help.
        mark = "%" if "cell" in inspect.signature(method).parameters else ""
        magic.parser = MagicArgumentParser(f"{mark}{method.__name__}", description=method.__doc__)
        magic.options = options
        for each in options:
            magic.parser.add_argument(*each.names, **each.settings)
        magic.__doc__ = magic.parser.format_help()
        return magic

    return decorate


def _with_plain_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn our errors into IPython's usage errors, which it shows as one line."""

    @wraps(method)
    def wrapped(*args: Any) -> Any:
        try:
            return method(*args)
        except (RankError, StuckError, CellSyntaxError):
            raise  # these errors show what happened, and where
        except RankbookError as error:
            raise UsageError(str(error)) from None

    return wrapped


def parse(magic: Any, line: str) -> Namespace:
    """Read a magic's line with its own parser.

    Raises:
        UsageError: The line does not parse; the message says where help is.
    """
    try:
        # Not parse_argstring, which leaves quotation marks in the words.
        args: Namespace = magic.parser.parse_args(shlex.split(line))
    except (UsageError, ValueError) as error:  # ValueError: quotation marks that do not match
        raise UsageError(f"{error}: run %{magic.__name__}? to see its options.") from None
    return args


def only_quoted_values(line: str, *names: str) -> str:
    """Give an option with an optional value its value only where a value is meant.

    ``--mpi gloo`` is the option without a value and the backend gloo; ``--slurm "time=10"``, a
    quoted text with ``=`` or ``:``, becomes ``--slurm="time=10"``, which argparse reads as one.

    Args:
        line: As typed.
        names: The options.
    """
    for name in names:
        quoted = rf"""(?<!\S){name}\s+(?P<q>["'])(?P<value>(?:(?!(?P=q)).)*)(?P=q)(?!\S)"""
        line = re.sub(quoted, partial(_joined, name), line)
        # argparse would take the next word for the value; an empty one after = means none.
        line = re.sub(rf"(?<!\S){name}(?!\S)", f"{name}=", line)
    return line


def _joined(name: str, match: re.Match[str]) -> str:
    """``--slurm "time=10"`` as ``--slurm="time=10"``, if that is a value, not a backend."""
    is_value = re.search("[=: ]|^-", match["value"])
    return f"{name}={match['q']}{match['value']}{match['q']}" if is_value else match[0]


def parse_with_code(magic: Any, line: str) -> tuple[Namespace, str]:
    """Split ``-r 0 x.sum()`` into options and code, which must reach the ranks untouched."""
    with_value = {name for each in magic.options if each.needs_value for name in each.names}
    head, rest = [], line.strip()
    while rest.startswith("-"):
        word, _, rest = rest.partition(" ")
        head.append(word)
        rest = rest.lstrip()
        if word in with_value:
            value, _, rest = rest.partition(" ")
            head.append(value)
            rest = rest.lstrip()
    return parse(magic, " ".join(head)), rest


def parse_with_expression(magic: Any, line: str) -> tuple[Namespace, str]:
    """Split ``x.sum() -r 0``, or ``-r 0 x.sum()``, into options and an expression.

    At the end, a word is an option if Python could not read it with its value as code, or if it
    begins with two dashes and takes no value: ``x -r 0`` selects rank 0, ``x - r`` subtracts.
    """
    with_value = {name for each in magic.options if each.needs_value for name in each.names}
    flags = {name for each in magic.options for name in each.names if name.startswith("--")}
    rest, tail = line.strip(), ""
    while True:
        match = _LAST_WORDS.fullmatch(rest)
        if match is None:
            break
        before, word, last = match.groups()
        if last in flags - with_value:
            rest, taken = rest.removesuffix(last), last
        elif word in with_value and not _is_expression(rest):
            rest, taken = before, f"{word} {last}"
        else:
            break
        rest, tail = rest.strip(), f"{taken} {tail}"
    return parse_with_code(magic, f"{tail}{rest}")


_LAST_WORDS = re.compile(r"(?s)(|.*\s)(\S+)\s+(\S+)")


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True
