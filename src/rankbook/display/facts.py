"""A snapshot in words, the same for all views: text, tables and dashboard."""

from __future__ import annotations

from rankbook.diagnosis.calls import name
from rankbook.models import Look, Snapshot
from rankbook.words import in_minutes, in_words, plural

__all__ = [
    "MARKS",
    "call_of",
    "device",
    "doing",
    "failed",
    "gpu_memory",
    "headline",
    "health",
    "limit_in_words",
    "memory",
    "rank_name",
    "sharing",
    "short",
    "size",
    "whole",
    "word",
]

# A shape and a word for every state: colour alone must never carry a meaning.
MARKS = {
    "idle": "●",
    "running": "▶",
    "collective": "⇄",
    "stopped": "‖",
    "no answer": "?",
    "ended": "✕",
    "no group": "◇",
    "shut down": "○",
}

_PHRASES = {
    "ended": "{} ended",
    "no answer": "no answer from {}",
    "stopped": "{} at a prompt",
    "collective": "{} in a collective",
    "running": "{} running",
    "no group": "no process group on {}: %dist_reset makes one",
    "idle": "{} idle",
}
"""How to describe the ranks in a state; the most urgent states come first."""

_WORDS = {"waiting": "collective", "gone": "ended", "left": "shut down"}
"""States whose word differs from the one on the wire."""

_LONGEST = 110
"""How many characters of a rank's last error fit in a line."""

_WHOLE = 5_000
"""How many of its characters are shown in full: hundreds of ranks may have the same error."""

_NAMED = 4
"""How many runs of ranks are named; more are counted instead."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def headline(snapshot: Snapshot) -> str:
    """The session in one line: ``gloo · 4 ranks · generation 2 · all idle``."""
    if not snapshot.world_size:
        return f"no process group · {snapshot.doing or 'ready'}"
    ranks = [state for state in snapshot.states if state.info]
    none = ranks and not any(state.in_group for state in ranks)
    parts = [
        "no process group" if none else snapshot.backend,
        plural(snapshot.world_size, "rank"),
        f"generation {snapshot.generation}",
    ]
    hosts = {state.host for state in snapshot.states if state.info and state.host}
    if len(hosts) > 1:
        parts.append(f"{len(hosts)} hosts")
    if words := limit_in_words(snapshot):
        parts.append(words)
    return " · ".join([*parts, health(snapshot)])


def limit_in_words(snapshot: Snapshot) -> str:
    """``job 8 ends in 5 min``, or why it has ended; empty where no job limits the session."""
    if snapshot.ended or not snapshot.ends:
        return snapshot.ended
    return f"{snapshot.ends} ends in {in_minutes(snapshot.ends_in)}"


def health(snapshot: Snapshot) -> str:
    """The state of the ranks, in words that change only when a state does."""
    if not any(state.info for state in snapshot.states):
        return snapshot.doing or "no rank is in the group"
    by_state: dict[str, list[int]] = {}
    for state in snapshot.states:
        if state.info is not None:
            by_state.setdefault(word(state), []).append(state.info.rank)
    if not by_state.keys() <= {"idle", "shut down"}:
        order = [*_PHRASES, *by_state]
        parts = [
            _PHRASES.get(state, f"{{}} {state}").format(_name(by_state[state]))
            for state in sorted(by_state, key=order.index)
        ]
    elif snapshot.doing:
        return snapshot.doing
    else:
        parts = ["all idle"]
    if ranks := failed(snapshot):
        parts.append(f"error on {_name(ranks)}")
    return " · ".join(parts)


def failed(snapshot: Snapshot) -> list[int]:
    """Idle ranks whose last cell ended with an error."""
    return [s.info.rank for s in snapshot.states if s.info and s.state == "idle" and s.last_error]


def _name(ranks: list[int]) -> str:
    """Name ranks, or count them where their names would be too long for a sentence."""
    named = in_words(ranks)
    return named if named.count(",") < _NAMED else f"{len(ranks)} ranks"


def rank_name(state: Look) -> str:
    """Its number; ``spare`` for an engine that is no rank."""
    return str(state.info.rank) if state.info else "spare"


def word(state: Look) -> str:
    """The one word for its state, in every view: a rank that waits is in a ``collective``."""
    if state.state == "idle" and state.info and not state.in_group:
        return "no group"
    return _WORDS.get(state.state, state.state)


def call_of(state: Look) -> str:
    """The call of ``torch.distributed`` in which it waits; empty if it does not."""
    return name(state.waiting.op) if state.waiting else ""


def doing(state: Look) -> str:
    """What the rank does, and for how long from one second on."""
    if state.state == "waiting":
        does = f"{call_of(state)} ({state.line})" if state.line else call_of(state)
    else:
        # The word before it says that a rank has ended: what is told is how.
        how = state.ended.removeprefix("ended with ").removeprefix("has ended")
        does = {"running": state.line, "stopped": state.line, "gone": how}.get(state.state, "")
    return f"{does}, {state.since:.0f} s" if state.since >= 1 and does else does


def memory(state: Look) -> str:
    """Its memory on the host and on the GPU: ``250 MB + 2.0 GB GPU``."""
    gpu = gpu_memory(state)
    host = size(state.memory) if state.memory else ""
    return f"{host} + {size(gpu)} GPU" if gpu is not None else host


def gpu_memory(state: Look) -> int | None:
    """Bytes in use on its GPU: by all processes if the driver tells, else by this rank's torch.

    On a GPU that several ranks share, by this rank's torch, since each takes a part.
    """
    if state.gpu is None or (sharing(state) > 1 and state.gpu_memory is not None):
        return state.gpu_memory
    return state.gpu.used


def sharing(state: Look) -> int:
    """Ranks that have its device, this one among them."""
    return state.info.sharing if state.info else 1


def device(state: Look) -> str:
    """Its device, and how many ranks share it: ``cuda:0, 1 of 4``."""
    if state.info is None:
        return ""
    among = f", 1 of {sharing(state)}" if sharing(state) > 1 else ""
    return f"{state.info.device}{among}"


def size(count: int) -> str:
    """Bytes as a user reads them, in units of 1,000: ``812 MB``, ``1.4 GB``."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - what rounds to 1000
        value, unit = value / 1000, unit + 1
    digits = 1 if unit > 2 and value < 99.5 else 0  # noqa: PLR2004 - a tenth of a MB says nothing
    return f"{value:.{digits}f} {_UNITS[unit]}"


def short(text: str) -> str:
    """The first line of an error, cut if it is long."""
    first = text.splitlines()[0] if text else ""
    return _cut(first, _LONGEST)


def whole(text: str) -> str:
    """All of an error; only the cell's output has the end of a very long one."""
    return _cut(text, _WHOLE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 2] + " …"
