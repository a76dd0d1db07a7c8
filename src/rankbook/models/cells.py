"""Running a cell on a rank, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rankbook.models.calls import Fingerprint, Slot, Traffic
from rankbook.models.verdicts import Diagnosis
from rankbook.models.wire import Request

__all__ = [
    "POST_MORTEM",
    "CellOutcome",
    "CellSpan",
    "EndFormer",
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
    """Its path as typed: relative to ``folder``, or absolute. For a module its dotted name."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    is_module: bool = False
    """Whether it is run as ``python -m`` does."""
    clean: bool = False
    """Whether its names, threads and processes are removed at its end."""
    folder: str = ""
    """The notebook's folder, in which it runs if it exists."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The environment variables that a launcher would set for this rank."""
    world: tuple[int, ...] = ()
    """Its ranks in the session, by their rank in the script."""


@dataclass(frozen=True)
class Run(Request):
    """Run a cell; the answer is a :class:`CellOutcome`, its output comes as events before."""

    code: str
    """The code, with IPython syntax. For a script the line that runs it."""
    number: int = 0
    """Number of the notebook's cell; 0: a program runs it."""
    name: str = "a cell"
    """What it is called: ``In [4]``, ``cell 3``."""
    first_line: int = 1
    """The line of the editor in which the code begins."""
    post_mortem: str = ""
    """One of :data:`POST_MORTEM`; ``last`` replaces the code."""
    script: Script | None = None
    """A script to run instead of code."""
    keep_values: bool = False
    """Whether to keep the inputs and outputs of its calls."""
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
    insists: bool = False
    """Raise the ``KeyboardInterrupt`` even if the code has a handler of SIGINT that does not."""
    op = "free"


@dataclass(frozen=True)
class ForgetError(Request):
    """Forget the error of the last cell: it was repaired, or another rank's."""

    op = "forget_error"


@dataclass(frozen=True)
class EndFormer(Request):
    """End what the last script has left running, for another one begins.

    All ranks do so before any begins: it must not meet a server or a store of that script.
    """

    op = "end_former"


@dataclass(frozen=True)
class Acknowledge(Request):
    """Note how much of what the running cell has printed was read."""

    read: int
    """In all, by the measure :func:`rankbook.models.events.effort`."""
    op = "acknowledge"


@dataclass(frozen=True)
class Failure:
    """An exception on a rank."""

    ename: str
    """Name of its class."""
    evalue: str
    traceback: tuple[str, ...] = ()
    """Lines as IPython formats them, with ANSI colours; of a freed rank only the user's lines."""
    when: float = 0.0
    """Seconds since the epoch, by the engine's clock."""
    freed: bool = False
    """Whether the cell ended here because the session interrupted it or freed the rank."""
    line: str = ""
    """Where it was raised: ``In [4] line 3: f(x)``, ``train.py:6 in step, called from In [4] line
    2``; empty if no user code is known."""
    slot: Slot | None = None
    """The collective that was refused because other ranks call something else there."""


@dataclass(frozen=True)
class CellOutcome:
    """How a cell ended on a rank."""

    error: Failure | None = None
    """The exception that ended it; None: it ran to its end."""
    seconds: float = 0.0
    """How long it ran, seconds."""
    traffic: Traffic = field(default_factory=Traffic)
    """What it did over the rank's groups."""
    fingerprints: tuple[Fingerprint, ...] = ()
    """Fingerprints of the groups that were used since the last cell."""
    exit_code: int | None = None
    """Of a script: its exit code as a process; minus the signal if one ended it."""
    left: str = ""
    """Threads and processes that a script left behind, in words."""
    lost: bool = False
    """Whether a call has failed under way in a group that is still there, though that may have been
    caught: the connections of that group are gone."""


@dataclass(frozen=True)
class CellSpan:
    """When a cell ran on the ranks."""

    number: int
    """Number of the notebook's cell; 0: a program ran it."""
    label: str
    """Its first line, or what it does."""
    started: float
    """Seconds since the epoch by the notebook's clock."""
    ended: float | None = None
    """The same; None while it runs."""
    code: str = ""
    """Its code."""
    ranks: tuple[int, ...] = ()
    """The ranks that ran it."""
    traffic: Mapping[int, Traffic] = field(default_factory=dict, hash=False)
    """By rank, what it did over the rank's groups; empty while it runs."""
    raised: Mapping[int, str] = field(default_factory=dict, hash=False)
    """By rank that raised, the name of the exception; empty while it runs."""
    freed: tuple[int, ...] = ()
    """The ranks on which it did not end by itself: they were freed, or interrupted."""
    diagnosis: Diagnosis | None = field(default=None, hash=False)
    """Why it could not end on some ranks; None if it could, and while it runs."""
    name: str = ""
    """What it is called: ``In [4]``, ``cell 3``."""
    first_line: int = 1
    """The line of the editor in which its code begins."""
