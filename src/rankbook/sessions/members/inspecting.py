"""Looking at names and values of ranks at any time, without waiting long for them."""

from __future__ import annotations

from rankbook.models import load
from rankbook.models.inspecting import (
    Complete,
    Completions,
    Inspect,
    Inspected,
    ListVariables,
    Understands,
    Variable,
)
from rankbook.sessions.members.party import Party

__all__ = ["complete", "inspect", "understands", "variables"]

_ASKED = 8
"""How many ranks are asked to complete."""


def complete(party: Party, code: str, cursor: int) -> Completions:
    """Complete what is typed, on the rank that answers first.

    Args:
        party: The ranks to ask.
        code: The cell, without magics.
        cursor: Where the cursor is.

    Returns:
        Nothing found, where no rank answers in time.
    """
    timing = party.timing
    end = timing.clock.monotonic() + timing.complete  # asking takes time where many ranks compute
    # Asking more ranks takes longer than waiting for the first of these.
    call = party.only(list(party)[:_ASKED]).request(Complete(code, cursor))
    left = max(0.0, end - timing.clock.monotonic())
    call.wait(left, until=lambda: bool(call.values))
    call.forget()
    return next((load(Completions, value) for value in call.values.values()), Completions(cursor))


def inspect(party: Party, name: str, detail: int = 0) -> dict[int, Inspected]:
    """What a name is on each rank that answers in time.

    Args:
        party: The ranks to ask.
        name: The name, perhaps with dots.
        detail: 1 to include its source.
    """
    call = party.request(Inspect(name, detail))
    call.wait(party.timing.inspect)
    call.forget()
    return {rank: load(Inspected, value) for rank, value in sorted(call.values.items())}


def understands(party: Party, code: str) -> bool:
    """Whether a cell that is invalid here is valid for the rank that answers first."""
    call = party.only(list(party)[:1]).request(Understands(code))
    call.wait(party.timing.inspect)
    call.forget()
    return any(call.values.values())


def variables(party: Party) -> dict[int, list[Variable]]:
    """By rank that answers, its variables."""
    call = party.look(ListVariables())
    return {
        rank: [load(Variable, one) for one in values]
        for rank, values in sorted(call.values.items())
    }
