"""The parts of an engine, which its operations work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankbook import calls
from rankbook.calls.keeping import Keeper
from rankbook.distributed import destroying, families, outsiders
from rankbook.distributed.opening import Opening
from rankbook.distributed.stores import Interruptible
from rankbook.engine.asides import Asides
from rankbook.engine.cells import inner, left
from rankbook.engine.cells.lastwords import LastWords
from rankbook.engine.cells.runner import Runner
from rankbook.engine.cells.shell import prepare
from rankbook.engine.group import defaults
from rankbook.engine.group.group import Group
from rankbook.engine.group.nccl import Streams
from rankbook.engine.looking import lastcalls
from rankbook.engine.looking.coroutines import Coroutine
from rankbook.engine.looking.history import History
from rankbook.engine.looking.look import Observer
from rankbook.engine.looking.recorder import Recorder
from rankbook.engine.processes import children, launching, spawned
from rankbook.models.requests import Run

if TYPE_CHECKING:
    import torch

    from rankbook.engine.jobs import Job

__all__ = ["Engine"]


class Engine:
    """One per process.

    Attributes:
        kernel: ipyparallel's kernel, with the IPython shell.
        runner: Runs cells.
        asides: Threads that look at a user's objects.
        group: This engine's place in the process group.
        observer: Observes the main thread.
        ledger: The calls and waits of this process in torch.distributed.
        history: Reports recorded calls.
        streams: The calls that NCCL has not completed.
        kept: The values that the latest cell with ``keep_values`` kept; None if there was none.
        compared: Tensors under comparison across ranks.
        job: The job of the main thread; None while it is idle.
        waiting: Jobs that the main thread has yet to begin.
    """

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        children.install()
        spawned.install()
        defaults.install()
        launching.install()
        families.install()
        self.ledger = lastcalls.ledger()
        self.group = Group(kernel.shell.user_ns, self.ledger)
        self.runner = Runner(kernel, self.group, LastWords(self.ledger.box))
        self.asides = Asides(self.runner.capture.muted)
        self.streams = Streams()
        calls.install(self.ledger, [Interruptible, Opening])
        destroying.on_destroy.append(self.ledger.groups.destroy)
        outsiders.has_children.append(left.are_strangers)
        outsiders.is_served_by_child.append(left.serves)
        self.observer = Observer(
            self.ledger,
            Recorder(self.streams),
            self.group.silent_for,
            self.streams,
            Coroutine(lambda: self.runner.task, self.runner.capture.between.threads),
        )
        self.history = History(self.ledger, self.streams)
        self.kept: Keeper | None = None
        self.compared: dict[str, torch.Tensor] = {}
        self.job: Job | None = None
        self.waiting: set[Job] = set()
        prepare(kernel.shell)
        inner.install(kernel.shell, self.group)

    @property
    def id(self) -> int:
        """Its id in the cluster."""
        return int(self.kernel.engine_id)

    @property
    def namespace(self) -> dict[str, Any]:
        """The variables of the cells."""
        namespace: dict[str, Any] = self.kernel.shell.user_ns
        return namespace

    @property
    def doing(self) -> str:
        """Name of the main thread's operation; empty while it is idle."""
        return self.job.name if self.job is not None else ""

    def begin(self, job: Job) -> None:
        """Note that the main thread begins a job."""
        self.group.end_script()
        self.observer.forget()
        self.ledger.counts.cell = job.arguments["number"] if job.name == Run.op else None
        self.job = job
        self.waiting.discard(job)
        # Comm messages of widgets made in the cell are addressed through the parent request.
        self.kernel.set_parent(*job.sender, channel="shell")

    def end(self) -> None:
        """Note that the main thread is idle again."""
        self.job = None
        self.ledger.counts.cell = None

    def expect_end(self) -> None:
        """Count an end of the running cell as the end of this process, not as the cell's error."""
        self.runner.failures.freed = self.runner.failures.cut = True
