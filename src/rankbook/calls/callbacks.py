"""Telling which threads run functions that were given to a future."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from rankbook.calls.ledger import Ledger

__all__ = ["calling_back"]


def calling_back(ledger: Ledger, call: Callable[..., Any]) -> Callable[..., Any]:
    """Have ``then`` tell which thread runs the function that it is given."""
    present = ledger.waits.in_callbacks

    def then(future: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        if not callable(function):
            return call(future, function, *args, **kwargs)  # which says what is wrong

        @wraps(function)
        def run(*given: Any) -> Any:
            thread = threading.get_ident()
            is_outermost = thread not in present
            present.add(thread)
            try:
                return function(*given)
            finally:
                if is_outermost:
                    present.discard(thread)

        return call(future, run, *args, **kwargs)

    return then
