"""The functions of ``import rankbook`` that start and join sessions, and the current session."""

from __future__ import annotations

import atexit
import math
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rankbook.cluster.gpus import check_asked, check_form, visible_gpus
from rankbook.cluster.hosts.targets import Hosts, JobOptions, read_target
from rankbook.cluster.keeping.kept import Kept, all_kept
from rankbook.cluster.launchers import choose
from rankbook.cluster.launchers.base import Launcher
from rankbook.cluster.placement import (
    NCCL_SHARES_FROM,
    check_backend,
    check_numbers,
    choose_backend,
    place,
)
from rankbook.cluster.starting import start_pool
from rankbook.errors import InputError, SessionError
from rankbook.words import plural

# Modules that need ipyparallel are imported when used: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.cluster.pool import Pool
    from rankbook.notebook import Session

__all__ = ["Current", "clusters", "connect", "current", "preview", "session", "start"]

_KEEP = 8.0
"""Hours after which an idle kept cluster ends."""


@dataclass
class Current:
    """The holder of the current session."""

    session: Session | None = None
    """The session that ``%dist_init`` made last, shut down or not."""


current = Current()
"""The one global of the package."""


def session() -> Session | None:
    """The current session, the one that ``%dist_init`` made; None if there is none."""
    made = current.session
    return made if made is not None and not made.is_closed else None


def start(  # noqa: PLR0913 - all are keywords, and most are rarely given
    backend: str | None = None,
    nproc: int | None = None,
    *,
    slurm: JobOptions | None = None,
    ssh: Hosts | None = None,
    mpi: Hosts | bool | None = None,
    nodes: int | None = None,
    profile: str | None = None,
    python: str | None = None,
    address: str | None = None,
    gpus: str = "",
    share_gpus: bool = False,
    keep: bool | float = False,
    timeout_minutes: float = 1,
    check: bool = False,
) -> Session:
    """Start a cluster, initialise the process group on it, and make it the current session.

    Without ``slurm``, ``ssh``, ``mpi`` and ``profile`` the engines are on this machine. While a
    job is pending, its reason is printed, and Ctrl-C cancels it.

    Args:
        backend: As ``torch.distributed`` names it; None: ``nccl`` where every rank has a GPU of
            its own, else ``gloo``.
        nproc: Number of ranks; None: what the other arguments say, or one per visible GPU, or 2
            without GPUs.
        slurm: Options of sbatch, as ``{"partition": "gpu", "exclusive": True}`` or
            ``"partition=gpu exclusive"``; True for none. Inside an allocation, its nodes are used.
        ssh: Hosts and how many ranks each has, as ``{"alpha": 4}`` or ``"alpha:4,beta:4"``.
        mpi: The same for ``mpiexec``; True: on this host.
        nodes: Number of nodes of a Slurm job.
        profile: IPython profile whose ``ipcluster_config.py`` starts the engines.
        python: The interpreter that has rankbook on the hosts; None: the path of this one.
        address: This host's address for the engines; None finds it.
        gpus: GPUs that engines may use, as ``CUDA_VISIBLE_DEVICES`` writes them.
        share_gpus: Let several ranks of a host share a GPU. NCCL supports that from 2.30 on; gloo
            always does, with CUDA tensors, and is the default with an older NCCL.
        keep: Have ranks, group and variables stay when this process ends, until no notebook
            has used them for so many hours and no cell runs; True: 8. :func:`clusters` lists them.
        timeout_minutes: Timeout of the initialisation and of every collective of the group.
        check: Compare every collective across ranks before it runs. Mistakes become errors on
            every rank instead of hangs; it makes small collectives several times slower.

    Returns:
        The session, its group initialised.

    Raises:
        SessionError: There is a session already.
        InputError: Arguments contradict each other; the message says which.
        RankbookError: The start failed; nothing that was started is left running.
    """
    _refuse_second()
    check_numbers(nproc, timeout_minutes)
    target = read_target(nproc, slurm=slurm, ssh=ssh, mpi=mpi, nodes=nodes, profile=profile)
    make: Callable[[], Launcher]
    if target is not None:
        check_form(gpus)
        if address:
            from rankbook.cluster.hosts.addresses import refuse_foreign

            refuse_foreign(address)
        count = target.nproc
        make = partial(choose.elsewhere, target, python, address or "", gpus)
    else:
        _refuse_far_options(python, address)
        check_asked(gpus)
        count = nproc or visible_gpus(gpus) or 2
        make = partial(choose.here, count, profile, gpus)
    if target is None and profile is None:
        _refuse_early(backend, count, gpus, share_gpus=share_gpus)
    elif backend is not None:
        check_backend(backend)
    hours = _KEEP if keep is True else float(keep)
    if not 0 <= hours < math.inf:
        raise InputError(f"keep must be a number of hours, for example 8, not {hours:g}.")

    def form(new: Session) -> None:
        new.initialize(backend, count, timeout_minutes, check=check, share_gpus=share_gpus)
        if hours:
            new.members.keep(hours, count)

    return _session_on(lambda: start_pool(make, count, _import_meanwhile), form)


def preview(  # noqa: PLR0913 - the arguments of start
    backend: str | None = None,
    nproc: int | None = None,
    *,
    slurm: JobOptions | None = None,
    ssh: Hosts | None = None,
    mpi: Hosts | bool | None = None,
    nodes: int | None = None,
    profile: str | None = None,
    python: str | None = None,
    address: str | None = None,
    gpus: str = "",
) -> str:
    """Return what :func:`start` would run elsewhere: the job script and the commands.

    Nothing is started. Arguments are those of :func:`start`.

    Raises:
        InputError: Arguments contradict each other, or nothing would run elsewhere.
    """
    check_numbers(nproc, None)
    if backend is not None:
        check_backend(backend)
    target = read_target(nproc, slurm=slurm, ssh=ssh, mpi=mpi, nodes=nodes, profile=profile)
    if target is None:
        raise InputError("There is nothing to show: add --slurm, --ssh or --mpi.")
    check_form(gpus)
    return "\n".join(choose.elsewhere(target, python, address or "", gpus).preview())


def connect(
    backend: str | None = None,
    nproc: int | None = None,
    *,
    profile: str | None = None,
    cluster_id: str | None = None,
    connection_file: str | None = None,
    timeout_minutes: float | None = None,
    check: bool | None = None,
    share_gpus: bool | None = None,
) -> Session:
    """Join a running cluster and make it the current session, with the group that it has.

    A group that its engines are in already, from a notebook whose kernel has ended, is taken over
    as it is, even while they are busy; in a kept cluster also if ranks have ended meanwhile, which
    :meth:`~rankbook.Session.restart_ranks` replaces. A new group is formed if any of ``backend``,
    ``nproc``, ``timeout_minutes``, ``check`` and ``share_gpus`` is given, or if the engines are not
    all in one group; in other clusters also if a rank has ended. If an engine does not answer,
    nothing is touched.

    Args:
        backend: See :func:`start`.
        nproc: Number of ranks; None: every engine.
        profile: IPython profile whose cluster it is.
        cluster_id: As ``ipcluster list`` shows it.
        connection_file: ``ipcontroller-…-client.json``, instead of the two above.
        timeout_minutes: See :func:`start`; None: 1 in a new group.
        check: See :func:`start`; None: not in a new group.
        share_gpus: See :func:`start`; None: not in a new group.

    Returns:
        The session, with a group.

    Raises:
        SessionError: There is a session already, or a new group is asked for while ranks of the
            present one are busy.
        ClusterError: There is no such cluster, or it does not answer, or one of its engines does
            not, so that its activity is unknown.
        EngineError: An engine has no rankbook installed; the message names its host.
    """
    _refuse_second()
    check_numbers(nproc, timeout_minutes)
    from rankbook.cluster.pool import Pool

    asked = (backend, nproc, timeout_minutes, check, share_gpus)
    nothing_asked = all(one is None for one in asked)

    def form(new: Session) -> None:
        # A smaller group is for those whose ended ranks nothing can replace.
        if not (nothing_asked and new.adopt(with_ended=new.members.can_replace)):
            new.initialize(backend, nproc, timeout_minutes, check=check, share_gpus=share_gpus)

    return _session_on(
        lambda: Pool.join(profile=profile, cluster_id=cluster_id, connection_file=connection_file),
        form,
    )


def clusters() -> list[Kept]:
    """Your clusters that outlive their notebook, started with ``keep``, oldest first.

    ``connect(cluster_id=…)`` joins one by its ``cluster_id``; its session's ``shutdown()`` ends it.
    """
    from IPython.paths import get_ipython_dir

    return all_kept(sorted(Path(get_ipython_dir()).glob("profile_*/security")))


def _refuse_far_options(python: str | None, address: str | None) -> None:
    for given, name in ((python, "python"), (address, "address")):
        if given:
            raise InputError(f"{name} is for ranks on other hosts: add slurm, ssh or mpi.")


def _import_meanwhile() -> None:
    """Import what this process needs once the engines are there: they take a second or two."""
    import rankbook.notebook
    import rankbook.sessions.group.filling

    if "ipykernel" in sys.modules:
        import rankbook.display.cells.background
        import rankbook.display.cells.cell
        import rankbook.display.cells.screens
        import rankbook.widgets  # noqa: F401


def _session_on(make_pool: Callable[[], Pool], form: Callable[[Session], None]) -> Session:
    """Make a session with a group the current one; if that fails, leave no engines behind."""
    pool = new = None
    try:
        pool = make_pool()
        from rankbook.notebook import Session

        new = Session(pool)
        form(new)
        atexit.register(new.detach)
        current.session = new
    except BaseException:
        if new is not None:
            # This session must not end the group of joined engines.
            new.detach()
        elif pool is not None:
            pool.close()
        raise
    return new


def _refuse_second() -> None:
    if (old := session()) is not None:
        raise SessionError(
            f"There is a session already ({old.backend or 'no group'}, "
            f"{plural(old.world_size, 'rank')}): use rankbook.session(), or call its shutdown()."
        )


def _refuse_early(backend: str | None, nproc: int, gpus: str, *, share_gpus: bool) -> None:
    """Refuse in milliseconds what the engines would refuse in seconds."""
    from rankbook.models import EngineFacts

    seen = ("GPU",) * visible_gpus(gpus)
    nccl = ".".join(map(str, NCCL_SHARES_FROM))  # only an engine's torch knows the version
    host = socket.gethostname()
    facts = [EngineFacts(i, host, (), 0, seen, nccl=nccl) for i in range(nproc)]
    choose_backend(place(facts), backend, share_gpus=share_gpus)
