"""A cluster in this process: what a session sees of one, without any engine processes.

``FakePool`` is the real ``rankbook.cluster.pool.Pool``, with the real channel, over a ``FakeWire``
and a ``FakeLauncher``. A ``FakeEngine`` runs cells with ``exec``, at once, in the thread that asks.
Besides Python, a cell may call:

- ``stick()``: Python that does not end until it is interrupted;
- ``wait_in("all_reduce", seq=3)``: a torch collective that does not return until its
  connections are cut; other facts of ``rankbook.models.Collective`` may be given, too;
- ``called("all_reduce", seq=3)``: a collective that has completed;
- ``die(-9)``: the end of the engine's process.
"""

from fakes.clock import Clock
from fakes.engine import AT_ANY_TIME, FOR_GOOD, FakeEngine
from fakes.launcher import FakeLauncher
from fakes.output import Recorder
from fakes.pool import FakePool
from fakes.wire import FakeWire

__all__ = [
    "AT_ANY_TIME",
    "FOR_GOOD",
    "Clock",
    "FakeEngine",
    "FakeLauncher",
    "FakePool",
    "FakeWire",
    "Recorder",
]
