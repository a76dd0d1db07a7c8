"""Printing for a user, or as JSON for a program."""

from __future__ import annotations

import json
import re
import time
from argparse import Namespace
from typing import Any

__all__ = ["for_terminal", "say", "since"]

_MAGIC = re.compile(
    r"%dist_(restart|interrupt)\b((?: [\d,-]+)?(?: --from \d+)?)(?: \(or \w+\([^()]*\)\))?"
)
"""What a command can do as well, and how a script would: ``%dist_restart 2 (or …)``."""


def for_terminal(text: str) -> str:
    """What is to be typed into a notebook, as a command of ranks that no notebook uses."""
    return _MAGIC.sub(r"`python -m rankbook \1\2`", text)


def say(options: Namespace, text: str, data: Any) -> None:
    """Print what a command has found.

    Args:
        options: ``json`` says how.
        text: For a user.
        data: The same in JSON's types.
    """
    print(json.dumps(data, indent=2) if options.json else text, flush=True)  # noqa: T201


def since(moment: float) -> str:
    """A moment as a user writes it.

    Args:
        moment: Seconds since 1970.
    """
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
