"""The data that crosses process borders: frozen, typed, made of JSON types only.

``to_dict`` and :func:`load` convert it for a wire that carries JSON. Each name loads its module
when it is first used: to make all classes takes a tenth of a session's start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook import lazy

if TYPE_CHECKING:
    from rankbook.models.cells import CellOutcome, CellSpan, Failure
    from rankbook.models.engines import EngineFacts, Gpu
    from rankbook.models.groups import GroupInfo
    from rankbook.models.looks import Collective, Look
    from rankbook.models.recorded import Recorded, Recording
    from rankbook.models.snapshots import Snapshot
    from rankbook.models.verdicts import Diagnosis
    from rankbook.models.wire import load, to_dict
    from rankbook.words import how_ended

__all__ = [
    "CellOutcome",
    "CellSpan",
    "Collective",
    "Diagnosis",
    "EngineFacts",
    "Failure",
    "Gpu",
    "GroupInfo",
    "Look",
    "Recorded",
    "Recording",
    "Snapshot",
    "how_ended",
    "load",
    "to_dict",
]

_HOMES = {
    "CellOutcome": "rankbook.models.cells",
    "CellSpan": "rankbook.models.cells",
    "Collective": "rankbook.models.looks",
    "Diagnosis": "rankbook.models.verdicts",
    "EngineFacts": "rankbook.models.engines",
    "Failure": "rankbook.models.cells",
    "Gpu": "rankbook.models.engines",
    "GroupInfo": "rankbook.models.groups",
    "Look": "rankbook.models.looks",
    "Recorded": "rankbook.models.recorded",
    "Recording": "rankbook.models.recorded",
    "Snapshot": "rankbook.models.snapshots",
    "how_ended": "rankbook.words",
    "load": "rankbook.models.wire",
    "to_dict": "rankbook.models.wire",
}

# Hidden from type checkers, which would accept any name because of a module's __getattr__.
if not TYPE_CHECKING:
    __getattr__ = lazy.from_homes(__name__, _HOMES)
