"""The requests of a session to an engine: one class per operation, next to its answer's model."""

from rankbook.models.calls import GetCall, GetMaking, ReadLastCalls
from rankbook.models.cells import Acknowledge, ForgetError, Free, Run
from rankbook.models.copies import Copy, GetDigests, GetHoldings, Settle, Take
from rankbook.models.diffs import Chunks, Drop, Fingerprint, SendChunks
from rankbook.models.engines import GetFacts
from rankbook.models.environment import GetEnvironment
from rankbook.models.exchanges import GetKept
from rankbook.models.following import Follow
from rankbook.models.frames import GetFrames
from rankbook.models.groups import Destroy, EndScript, HostStore, Initialize, Reach
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
    *(Run.op, Initialize.op, Copy.op, Take.op, Settle.op, GetDigests.op),
    *(Pull.op, Push.op, Fingerprint.op),  # they run a person's __reduce__, or an expression
)
"""Operations that may last, and that an interrupt ends; all others end soon by themselves."""
