"""Bringing variables from the ranks, and sending some to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rankbook import values
from rankbook.cluster.channel import Call, Channel, everyone
from rankbook.errors import InputError
from rankbook.models.requests import Pull, Push
from rankbook.ranks import label, said

__all__ = ["pull", "push"]


def pull(channel: Channel, engines: Mapping[int, int], name: str) -> dict[int, Any]:
    """Bring a variable; see :meth:`rankbook.sessions.session.Session.pull`.

    Args:
        channel: To the engines.
        engines: By rank, the engine to ask.
        name: The variable's name there.
    """
    call = _finish(channel, channel.request(everyone(engines.values(), Pull(name))))
    there = [rank for rank, engine in engines.items() if call.values[engine]]
    if len(there) < len(engines):
        where = f"only on {said(there)}" if there else f"on none of {said(engines)}"
        hint = f"; write -r {label(there)}" if there else ""
        raise InputError(f"{name!r} exists {where}{hint}.")
    return {rank: values.loads(call.buffers[engine][0]) for rank, engine in engines.items()}


def push(channel: Channel, engines: Mapping[int, int], variables: Mapping[str, bytes]) -> None:
    """Send variables that are pickled already.

    Args:
        channel: To the engines.
        engines: By rank, the engine to send to.
        variables: By name, their bytes.
    """
    asked = everyone(engines.values(), Push(tuple(variables)))
    _finish(channel, channel.request(asked, list(variables.values())))


def _finish(channel: Channel, call: Call) -> Call:
    channel.wait(call)
    channel.raise_for_failure(call)
    return call
