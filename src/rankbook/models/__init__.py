"""The data that crosses process borders: frozen, typed, made of JSON types only.

``to_dict`` and :func:`load` convert it for a wire that carries JSON.
"""

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
