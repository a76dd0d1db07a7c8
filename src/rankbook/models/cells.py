"""Running a cell on a rank, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.calls import Fingerprint, Slot, Traffic
from rankbook.models.wire import Request

__all__ = [
    "POST_MORTEM",
    "CellOutcome",
    "CellSpan",
    "Failure",
    "ForgetError",
    "Free",
    "Run",
    "Script",
]


POST_MORTEM = ("", "last", "failure")
"""Which exception the debugger shows: none, the one that ended an earlier cell, the one that is
about to end this cell."""


@dataclass(frozen=True)
class Script:
    """A script that a rank runs as a launcher would have it run."""

    path: str
    """As it was typed: relative to ``folder``, or absolute. Of a module its dotted name."""
    args: tuple[str, ...] = ()
    """What is typed after it."""
    is_module: bool = False
    """Whether it is run as ``python -m`` does."""
    clean: bool = False
    """Whether its names, threads and processes go with it."""
    folder: str = ""
    """The notebook's, where it runs if there is one of that name."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What a launcher tells this rank in its environment."""
    world: tuple[int, ...] = ()
    """Its ranks in the session, by their rank in the script."""


@dataclass(frozen=True)
class Run(Request):
    """Run a cell; the answer is a :class:`CellOutcome`, its output comes as events before."""

    code: str
    """IPython syntax included. Of a script the line that runs it."""
    number: int = 0
    """Of the notebook's cell; 0: a program runs it."""
    name: str = "a cell"
    """What it is called: ``In [4]``, ``cell 3``."""
    first_line: int = 1
    """The line of the editor in which the code begins."""
    post_mortem: str = ""
    """One of :data:`POST_MORTEM`; ``last`` takes the place of the code."""
    script: Script | None = None
    """What is to be run instead of code."""
    keep_values: bool = False
    """Whether to keep what its calls put in and get out."""
    op = "run"


@dataclass(frozen=True)
class Free(Request):
    """Free the main thread; the answer says whether it worked for a session.

    With neither field set, the engine only learns that its connections are about to be cut.
    """

    interrupt: bool = False
    """Send SIGINT: a ``KeyboardInterrupt`` in the Python that runs."""
    cut: bool = False
    """End the process group's connections: an error in the collective that waits."""
    op = "free"


@dataclass(frozen=True)
class ForgetError(Request):
    """Forget the error of the last cell: it was repaired, or another rank's."""

    op = "forget_error"


@dataclass(frozen=True)
class Failure:
    """An exception on a rank."""

    ename: str
    """Name of its class."""
    evalue: str
    traceback: tuple[str, ...] = ()
    """Lines as IPython formats them, with ANSI colours."""
    when: float = 0.0
    """Seconds since the epoch, by the engine's clock."""
    freed: bool = False
    """Whether the cell ended here because the session interrupted it or freed the rank."""
    line: str = ""
    """Where it was raised: ``In [4] line 3: f(x)``, ``train.py:6 in step, called from In [4] line
    2``; empty if no code of a person's is known."""
    slot: Slot | None = None
    """The collective that was refused because other ranks call something else there."""


@dataclass(frozen=True)
class CellOutcome:
    """How a cell ended on a rank."""

    error: Failure | None = None
    """The exception that ended it; None: it ran to its end."""
    seconds: float = 0.0
    """How long it ran."""
    traffic: Traffic = field(default_factory=Traffic)
    """What it did over the rank's groups."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """Of the groups that were used since the last cell: what was called there."""
    exit_code: int | None = None
    """Of a script: what its process would have ended with; minus the signal if one ended it."""
    left: str = ""
    """Threads and processes that a script has left behind, in words."""


@dataclass(frozen=True)
class CellSpan:
    """When a cell ran on the ranks."""

    number: int
    """Of the notebook's cell; 0: a program ran it."""
    label: str
    """Its first line."""
    started: float
    """Seconds since the epoch by the notebook's clock."""
    ended: float | None = None
    """The same; None while it runs."""
    code: str = ""
    """All of it."""
    ranks: tuple[int, ...] = ()
    """Those that ran it."""
    traffic: Mapping[int, Traffic] = field(default_factory=dict, hash=False)
    """By rank, what it did over the rank's groups; empty while it runs."""
    raised: Mapping[int, str] = field(default_factory=dict, hash=False)
    """By rank that raised, the name of the exception; empty while it runs."""
    name: str = ""
    """What it is called: ``In [4]``, ``cell 3``."""
    first_line: int = 1
    """The line of the editor in which its code begins."""
