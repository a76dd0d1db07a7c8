"""Every error that rankbook raises.

::

    RankbookError
    ├── InputError (ValueError)          an argument makes no sense: the message says what to type
    │   ├── BackendError                 the backend is unknown, or torch was built without it
    │   ├── DeviceError                  the ranks ask for GPUs that are not there
    │   ├── EnvironmentVariableError     RANK, WORLD_SIZE … hold something impossible
    │   └── LessonError                  a lesson cannot do that, or not now
    ├── RendezvousError (TimeoutError)   some ranks did not arrive: the message says which
    ├── ClusterError                     the cluster cannot be started, found or reached
    │   └── EngineError                  an engine cannot be a rank: the message names its host
    ├── SessionError                     there is no session, or it is busy
    │   └── StuckError                   an interrupt did not end a cell
    ├── MismatchError (RuntimeError)     ranks call different collectives: none was issued
    ├── StaleGroupError                  an object of an earlier process group cannot go on
    ├── ReportError                      a report cannot be saved, or a file is not a report
    ├── CheckFailed (AssertionError)     an exercise of a lesson is not solved yet
    └── RankError                        the user's code raised on some ranks
        └── HangError                    its collectives could not complete: a rank was missing,
                                         or called something else

A message is one line that says what happened and what to do about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankbook.models.calls import Slot

__all__ = [
    "BackendError",
    "CheckFailed",
    "ClusterError",
    "DeviceError",
    "EngineError",
    "EnvironmentVariableError",
    "HangError",
    "InputError",
    "LessonError",
    "MismatchError",
    "PromptError",
    "RankError",
    "RankbookError",
    "RendezvousError",
    "ReportError",
    "SessionError",
    "StaleGroupError",
    "StuckError",
]


class RankbookError(Exception):
    """Base of every error raised by rankbook."""


class InputError(RankbookError, ValueError):
    """An argument makes no sense. The message says what to type instead."""


class BackendError(InputError):
    """The backend is unknown, or this build of torch does not have it."""


class DeviceError(InputError):
    """The ranks ask for GPUs that are not there."""


class EnvironmentVariableError(InputError):
    """A launcher's variable (RANK, WORLD_SIZE, LOCAL_RANK …) holds something impossible."""


class LessonError(InputError):
    """A lesson cannot do what was asked, or not now. The message says what to do first."""

    def _render_traceback_(self) -> list[str]:
        return [_bold("LessonError", str(self))]


class RendezvousError(RankbookError, TimeoutError):
    """Some ranks did not arrive in time. The message names them."""


class ClusterError(RankbookError):
    """The cluster cannot be started, found or reached."""


class EngineError(ClusterError):
    """An engine cannot serve as a rank. The message names its host."""


class SessionError(RankbookError):
    """There is no session, or it is busy with something else."""


class StuckError(SessionError):
    """An interrupt did not end a cell on some ranks.

    Attributes:
        result: The ``CellResult`` of the ranks on which it did end.
        traceback_lines: The tracebacks of the ranks that raised: often why the others hang.
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result
        self.traceback_lines: list[str] = []

    def _render_traceback_(self) -> list[str]:
        return [*self.traceback_lines, f"StuckError: {self}"]


class MismatchError(RankbookError, RuntimeError):
    """A collective was not issued: under its number, another rank calls something else.

    Attributes:
        slot: Which collective it is, a :class:`~rankbook.models.calls.Slot`.
    """

    def __init__(self, message: str, slot: Slot | None = None) -> None:
        super().__init__(message)
        self.slot = slot


class StaleGroupError(RankbookError):
    """An object of an earlier process group was used, and could not get new connections."""


class PromptError(RankbookError):
    """A rank is at a prompt, and input is not possible."""


class ReportError(RankbookError):
    """A report cannot be saved at the given place, or a file is not a readable report."""


class CheckFailed(RankbookError, AssertionError):  # noqa: N818 - reads better in a traceback
    """An exercise is not solved yet: what is wrong by rank, and a hint where the mistake is known.

    Attributes:
        checked: What was found, a :class:`rankbook.teach.Checked`.
    """

    def __init__(self, message: str, checked: object = None) -> None:
        super().__init__(message)
        self.checked = checked

    def _render_traceback_(self) -> list[str]:
        first, *rest = str(self).splitlines()
        return [_bold("CheckFailed", first), *rest]


class RankError(RankbookError):
    """The user's code raised on some ranks.

    Attributes:
        ranks: The ranks that raised, in ascending order.
        traceback_lines: Their tracebacks, one for each different error, headed by its ranks.
        sentence: When the cell was interrupted, which no traceback says.
        note: What the session did about it.
    """

    sentence = note = ""

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.ranks = ranks
        self.traceback_lines: list[str] = []

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: where the cell failed on the ranks, without our own frames.

        The traceback already contains the message.
        """
        lines = [*self.traceback_lines]
        if self.sentence:
            lines.append(_bold(type(self).__name__, self.sentence))
        if self.note and lines:
            lines.append(self.note)
        return lines or [f"{type(self).__name__}: {self}"]


class HangError(RankError):
    """Collectives of a cell could not complete: a rank was missing, or called something else.

    Ranks that waited were freed.

    Attributes:
        diagnosis: The verdict, a :class:`~rankbook.models.Diagnosis`.
        hint: The usual cause, and the remedy.
        table_lines: What each rank did.
    """

    diagnosis: object = None
    hint = ""

    def __init__(self, message: str, ranks: tuple[int, ...] = ()) -> None:
        super().__init__(message, ranks)
        self.table_lines: list[str] = []

    def _render_traceback_(self) -> list[str]:
        sentence = str(self).removesuffix(self.note).rstrip()
        lines = [
            *self.traceback_lines,
            _bold("HangError", sentence),
            self.hint,
            *self.table_lines,
            self.note,
        ]
        return [line for line in lines if line]


def _bold(name: str, sentence: str) -> str:
    return f"\x1b[1m{name}: {sentence}\x1b[0m"
