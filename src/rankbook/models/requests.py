"""The requests of a session to an engine: one class per operation, next to its answer's model.

Each name loads its module when it is first used, as those of :mod:`rankbook.models` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankbook import lazy

if TYPE_CHECKING:
    from rankbook.models.calls import GetCall, GetMaking, ReadLastCalls
    from rankbook.models.cells import Acknowledge, EndFormer, ForgetError, Free, Run
    from rankbook.models.copies import Copy, GetDigests, GetHoldings, Settle, Take
    from rankbook.models.diffs import Chunks, Drop, Fingerprint, SendChunks
    from rankbook.models.engines import GetFacts
    from rankbook.models.environment import GetEnvironment
    from rankbook.models.exchanges import GetKept
    from rankbook.models.following import Follow
    from rankbook.models.frames import GetFrames
    from rankbook.models.groups import (
        Destroy,
        EndScript,
        GetUnfinished,
        HostStore,
        Initialize,
        Reach,
    )
    from rankbook.models.inspecting import Complete, Inspect, ListVariables, Understands
    from rankbook.models.looks import GetStacks, LookAt
    from rankbook.models.meshes import GetMesh
    from rankbook.models.profiles import StartProfile, TakeProfile
    from rankbook.models.prompts import Answer
    from rankbook.models.recorded import GetTimeline
    from rankbook.models.shown import Show
    from rankbook.models.variables import Pull, Push
    from rankbook.models.wire import RemoteError, Request

__all__ = [
    "Acknowledge",
    "Answer",
    "Chunks",
    "Complete",
    "Copy",
    "Destroy",
    "Drop",
    "EndFormer",
    "EndScript",
    "Fingerprint",
    "Follow",
    "ForgetError",
    "Free",
    "GetCall",
    "GetDigests",
    "GetEnvironment",
    "GetFacts",
    "GetFrames",
    "GetHoldings",
    "GetKept",
    "GetMaking",
    "GetMesh",
    "GetStacks",
    "GetTimeline",
    "GetUnfinished",
    "HostStore",
    "Initialize",
    "Inspect",
    "ListVariables",
    "LookAt",
    "Pull",
    "Push",
    "Reach",
    "ReadLastCalls",
    "RemoteError",
    "Request",
    "Run",
    "SendChunks",
    "Settle",
    "Show",
    "StartProfile",
    "Take",
    "TakeProfile",
    "Understands",
]

LASTING = (
    *("run", "initialize", "copy", "fill", "settle", "digests"),
    *("pull", "push", "fingerprint"),  # they run a person's __reduce__, or an expression
)
"""Operations that may last, and that an interrupt ends; all others end soon by themselves."""

_HOMES = {
    "Acknowledge": "rankbook.models.cells",
    "Answer": "rankbook.models.prompts",
    "Chunks": "rankbook.models.diffs",
    "Complete": "rankbook.models.inspecting",
    "Copy": "rankbook.models.copies",
    "Destroy": "rankbook.models.groups",
    "Drop": "rankbook.models.diffs",
    "EndFormer": "rankbook.models.cells",
    "EndScript": "rankbook.models.groups",
    "Fingerprint": "rankbook.models.diffs",
    "Follow": "rankbook.models.following",
    "ForgetError": "rankbook.models.cells",
    "Free": "rankbook.models.cells",
    "GetCall": "rankbook.models.calls",
    "GetDigests": "rankbook.models.copies",
    "GetEnvironment": "rankbook.models.environment",
    "GetFacts": "rankbook.models.engines",
    "GetFrames": "rankbook.models.frames",
    "GetHoldings": "rankbook.models.copies",
    "GetKept": "rankbook.models.exchanges",
    "GetMaking": "rankbook.models.calls",
    "GetMesh": "rankbook.models.meshes",
    "GetStacks": "rankbook.models.looks",
    "GetTimeline": "rankbook.models.recorded",
    "GetUnfinished": "rankbook.models.groups",
    "HostStore": "rankbook.models.groups",
    "Initialize": "rankbook.models.groups",
    "Inspect": "rankbook.models.inspecting",
    "ListVariables": "rankbook.models.inspecting",
    "LookAt": "rankbook.models.looks",
    "Pull": "rankbook.models.variables",
    "Push": "rankbook.models.variables",
    "Reach": "rankbook.models.groups",
    "ReadLastCalls": "rankbook.models.calls",
    "RemoteError": "rankbook.models.wire",
    "Request": "rankbook.models.wire",
    "Run": "rankbook.models.cells",
    "SendChunks": "rankbook.models.diffs",
    "Settle": "rankbook.models.copies",
    "Show": "rankbook.models.shown",
    "StartProfile": "rankbook.models.profiles",
    "Take": "rankbook.models.copies",
    "TakeProfile": "rankbook.models.profiles",
    "Understands": "rankbook.models.inspecting",
}

# As in rankbook.models.
if not TYPE_CHECKING:
    __getattr__ = lazy.from_homes(__name__, _HOMES)
