"""Printing for a person, or as JSON for a program."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from typing import Any

__all__ = ["say", "since"]


def say(options: Namespace, text: str, said: Any) -> None:
    """Print what a command has found.

    Args:
        options: ``json`` says how.
        text: For a person.
        said: The same in JSON's types.
    """
    print(json.dumps(said, indent=2) if options.json else text, flush=True)  # noqa: T201


def since(moment: float) -> str:
    """A moment as a person writes it.

    Args:
        moment: Seconds since 1970.
    """
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
