"""What a step, a part and an outcome are; what steps use to say what they found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

import rankbook as rb

__all__ = [
    "FAILED",
    "NOT_RUN",
    "PASSED",
    "Held",
    "NotRunError",
    "Outcome",
    "Part",
    "Scene",
    "Step",
    "check",
    "expect",
    "gone",
    "until",
    "values",
]

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


@dataclass(frozen=True)
class Step:
    """One thing that is checked."""

    name: str
    """What works if it passes."""
    run: Callable[[Scene], str | None]
    """Raises if it does not work; may return what was seen."""
    seconds: float = 20
    """Longest time that it may take."""
    vital: bool = False
    """Whether the rest of its part makes no sense without it."""


@dataclass(frozen=True)
class Part:
    """Steps that share a process, and mostly a session."""

    name: str
    steps: tuple[Step, ...]
    gpus: int = 0
    """GPUs that it needs."""


@dataclass(frozen=True)
class Outcome:
    """What came of one step."""

    part: str
    step: str
    outcome: str
    """``passed``, ``failed`` or ``not run``."""
    detail: str = ""
    """What was seen; or why it failed, or was not run."""
    seconds: float = 0.0


@dataclass
class Scene:
    """What the steps of a part hand on to each other."""

    current: rb.Session | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def session(self) -> rb.Session:
        """The session of this part.

        Raises:
            NotRunError: There is none.
        """
        if self.current is None or self.current.is_closed:
            raise NotRunError("there is no session")
        return self.current


class NotRunError(Exception):
    """A step cannot be tried here; the message says why."""


def check(holds: object, what: str) -> None:
    """Have a statement hold.

    Raises:
        AssertionError: It does not; the message is the statement.
    """
    if not holds:
        raise AssertionError(f"this is not so: {what}")


def expect(seen: object, wanted: object, what: str) -> None:
    """Compare.

    Raises:
        AssertionError: They differ; the message shows both.
    """
    if seen != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, and it is {seen!r}")


def gone(processes: Iterable[psutil.Process], patience: float) -> None:
    """Wait for the ends of processes, with a bound.

    Raises:
        AssertionError: Some still run; the message shows what.
    """
    left = []
    for process in psutil.wait_procs(list(processes), timeout=patience)[1]:
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            left.append(" ".join(process.cmdline()))
    expect(left, [], "what still runs")


def values(session: rb.Session, code: str, **options: Any) -> list[str | None]:
    """Run a cell; return by rank what it shows.

    Raises:
        RankError: It failed on some rank.
    """
    result = session.run(code, **options)
    result.raise_for_error()
    return [result[rank].result_repr for rank in sorted(result)]


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: It did not come.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


class Held:
    """A cell that runs while the block does; what it came to afterwards is ``result``.

    Attributes:
        result: The ``CellResult``; None while it runs.
        error: What ``run`` raised, None if it did not.
    """

    def __init__(self, session: rb.Session, code: str, **options: Any) -> None:
        self.result: Mapping[int, Any] | None = None
        self.error: BaseException | None = None
        self._session = session
        self._thread = threading.Thread(target=self._run, args=(code, options), daemon=True)

    def _run(self, code: str, options: dict[str, Any]) -> None:
        try:
            self.result = self._session.run(code, **options)
        except BaseException as error:  # noqa: BLE001 - the thread that holds the cell looks at it
            self.error = error

    def __enter__(self) -> Held:  # noqa: PYI034 - Self is younger than our oldest Python
        self._thread.start()
        until(lambda: self._session.doing or not self._thread.is_alive(), 5, "the cell begins")
        return self

    def wait(self, seconds: float = 15) -> Mapping[int, Any]:
        """Wait for the cell's end and return its result.

        Raises:
            TimeoutError: It did not end.
            BaseException: What ``run`` raised.
        """
        self._thread.join(seconds)
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise TimeoutError(f"the cell did not end within {seconds:g} s")
        return self.result

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            with suppress(rb.RankbookError):  # the step's own failure says more
                self._session.interrupt()
