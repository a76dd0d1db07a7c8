"""The requests of a session to an engine: one class per operation, next to its answer's model."""

from rankbook.models.calls import ReadLastCalls, TellCall, TellMaking
from rankbook.models.cells import ForgetError, Free, Run
from rankbook.models.copies import Copy, SayDigests, SayHoldings, Settle, Take
from rankbook.models.diffs import Chunks, Drop, Fingerprint, SendChunks
from rankbook.models.engines import SayFacts
from rankbook.models.environment import SayEnvironment
from rankbook.models.exchanges import SayKept
from rankbook.models.following import Follow
from rankbook.models.frames import SayFrames
from rankbook.models.groups import Destroy, EndScript, HostStore, Initialize, Reach
from rankbook.models.inspecting import Complete, Inspect, ListVariables
from rankbook.models.looks import LookAt, SayStacks
from rankbook.models.meshes import SayMesh
from rankbook.models.profiles import StartProfile, TakeProfile
from rankbook.models.prompts import Answer
from rankbook.models.recorded import TellTimeline
from rankbook.models.shown import Show
from rankbook.models.variables import Pull, Push
from rankbook.models.wire import RemoteError, Request

__all__ = [
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
    "SayDigests",
    "SayEnvironment",
    "SayFacts",
    "SayFrames",
    "SayHoldings",
    "SayKept",
    "SayMesh",
    "SayStacks",
    "SendChunks",
    "Settle",
    "Show",
    "StartProfile",
    "Take",
    "TakeProfile",
    "TellCall",
    "TellMaking",
    "TellTimeline",
]
