"""A person's mistake in a magic is one line that says what to type instead."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic_arguments import parse_argstring

from rankbook.errors import RankbookError, RankError, StuckError
from rankbook.magics.syntax import CellSyntaxError

__all__ = ["parse", "parse_with_code", "plain_errors"]

_TAKE_A_VALUE = frozenset({"-r", "--ranks", "-o", "--out", "--timeout", "--on-hang"})


def plain_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn our errors into IPython's usage errors, which it shows as one line."""

    @wraps(method)
    def wrapped(*args: Any) -> Any:
        try:
            return method(*args)
        except (RankError, StuckError, CellSyntaxError):
            raise  # they show themselves what and where
        except RankbookError as error:
            raise UsageError(str(error)) from None

    return wrapped


def parse(magic: Any, line: str) -> Namespace:
    """Read a magic's line with its own parser.

    Raises:
        UsageError: It does not parse; the message says where help is.
    """
    try:
        args: Namespace = parse_argstring(magic, line)
    except (UsageError, ValueError) as error:  # ValueError: quotation marks that do not match
        raise UsageError(f"{error}: %{magic.__name__}? shows what can be written.") from None
    return args


def parse_with_code(magic: Any, line: str) -> tuple[Namespace, str]:
    """Split ``-r 0 x.sum()`` into options and code, which must reach the ranks untouched."""
    head, rest = [], line.strip()
    while rest.startswith("-"):
        word, _, rest = rest.partition(" ")
        head.append(word)
        rest = rest.lstrip()
        if word in _TAKE_A_VALUE:
            value, _, rest = rest.partition(" ")
            head.append(value)
            rest = rest.lstrip()
    return parse(magic, " ".join(head)), rest
