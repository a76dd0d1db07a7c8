"""The cluster and its process group: start, re-initialise, replace ranks, stop."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_magic, magics_class

from rankbook import api
from rankbook.cluster.hosts import slurm
from rankbook.errors import InputError, SessionError
from rankbook.magics.base import RankMagics
from rankbook.magics.options import (
    ADDRESS,
    BACKEND,
    CHECK,
    CHECKPOINT,
    CLUSTER_ID,
    GPUS,
    KEEP,
    MPI,
    NO_CHECK,
    NODES,
    NPROC,
    ON_HANG,
    PROFILE,
    PYTHON,
    SELECTION,
    SHARE_GPUS,
    SLURM,
    SOURCE,
    SSH,
    TIMEOUT_MINUTES,
    option,
)
from rankbook.magics.usage import only_quoted_values, parse, takes
from rankbook.words import agree, plural

if TYPE_CHECKING:
    from rankbook.cluster.keeping.kept import Kept
    from rankbook.notebook import Session

__all__ = ["GroupMagics"]


@magics_class
class GroupMagics(RankMagics):
    """``%dist_init``, ``%dist_reset``, ``%dist_restart``, ``%dist_shutdown``."""

    @line_magic
    @takes(
        BACKEND,
        NPROC,
        TIMEOUT_MINUTES,
        CHECK,
        NO_CHECK,
        ON_HANG,
        GPUS,
        SHARE_GPUS,
        SLURM,
        NODES,
        SSH,
        MPI,
        PYTHON,
        ADDRESS,
        option("--dry-run", action="store_true", help="Only show the job script and the commands."),
        KEEP,
        PROFILE,
        CLUSTER_ID,
        option("--no-dashboard", action="store_true", help="Show no dashboard."),
    )
    def dist_init(self, line: str) -> None:
        """Start or join a cluster and initialise the process group on it.

        Called again, it re-initialises in place: another backend, timeout or number of ranks.
        Engines and their variables are kept.

        After a restart of the kernel, --cluster-id alone (no backend, -n, --timeout or --check)
        finds a joined cluster as it was left: its ranks, their group and variables, and what they
        are doing. %dist_status, %dist_why, %dist_interrupt and %dist_reset work at once.

        Examples::

            %dist_init
            %dist_init gloo -n 4 --timeout 5
            %dist_init --check
            %dist_init nccl --gpus 0,1
            %dist_init nccl -n 4 --share-gpus
            %dist_init --slurm "partition=gpu time=1:00:00" --nodes 2 -n 8
            %dist_init --ssh alpha:4,beta:4
            %dist_init --mpi -n 4
            %dist_init gloo -n 4 --keep
            %dist_init --cluster-id 1700000000-abcd
        """
        args = parse(self.dist_init, only_quoted_values(line, "--slurm", "--mpi", "--keep"))
        _refuse_contradictions(args)
        if args.dry_run:
            print(api.preview(args.backend, args.n, gpus=args.gpus, **_where(args)))
            return
        session = api.session()
        if session is None:
            if not args.cluster_id:
                _offer_kept()
            session = _connect(args) if args.cluster_id else _start(args)
        elif args.cluster_id or args.gpus or args.keep is not None or _where(args):
            raise SessionError(
                "This notebook has a cluster already: run %dist_shutdown before another %dist_init."
            )
        else:
            changes = {"check": args.check, "share_gpus": args.share_gpus}
            session.initialize(args.backend, args.n, args.timeout, **changes)
        _tell_of_idle_nodes(session)
        session.on_hang = args.on_hang or session.on_hang
        if args.no_dashboard:
            print(_in_one_line(session))
        else:
            session.dashboard().display()
        if more := session.told_of_dead or session.lacking:
            print(more)

    @line_magic
    @takes(
        BACKEND.but(help="New backend. Default: the current one."),
        option(
            "--hard", action="store_true", help="Replace the engines. Their variables are lost."
        ),
        option(
            "--clean",
            action="store_true",
            help="Forget what was made before: subgroups, device meshes, DDP and FSDP modules.",
        ),
    )
    def dist_reset(self, line: str) -> None:
        """Run destroy_global_state on every rank, then initialise a new generation.

        Engines and their variables are kept, unless --hard is given. DDP and FSDP modules, device
        meshes and subgroups go on with the new group, where the backend is gloo and stays the same.
        """
        args = parse(self.dist_reset, line)
        session = self.session()
        session.reset(args.backend, args.hard, clean=args.clean)
        print(f"{_in_one_line(session)}{session.carried}")

    @line_magic
    @takes(
        SELECTION.but(help=f"{SELECTION.settings['help']} Default: those that died."),
        SOURCE,
        CHECKPOINT,
    )
    def dist_restart(self, line: str) -> None:
        """Give ranks new processes, and initialise a new generation with the others as they are.

        The new processes run on the same hosts and GPUs as the old ones, and start empty. The
        other ranks keep their variables. With --from, the new ranks get a copy of another rank's,
        and DDP modules, device meshes and subgroups go on with them. Calls that earlier cells made
        are not repeated. Not copied, but listed with the reason: loaders with worker processes,
        open files, generators, locks. RNG states are not copied.

        Examples::

            %dist_restart
            %dist_restart 2
            %dist_restart 2 --from 0
            %dist_restart 2 --from 0 --checkpoint checkpoints/step-100
        """
        session = self.session()
        # Not argparse for the first word: it would take the ranks -2,-1 for an option.
        first, mark, options = line.partition("--")
        args = parse(self.dist_restart, f"{mark}{options}")
        ranks = " ".join([first.strip(), *args.ranks]).strip()
        filled = session.restart_ranks(
            ranks or None, from_rank=args.source, checkpoint=args.checkpoint, announce=print
        )
        print(f"{_in_one_line(session)}{session.carried}")
        print(filled or session.lacking)

    @line_magic
    @takes()
    def dist_clusters(self, line: str) -> None:
        """List your clusters that outlive their notebook, started with --keep.

        %dist_init --cluster-id NAME joins one as it is; %dist_shutdown then ends it.
        """
        parse(self.dist_clusters, line)
        found = api.clusters()
        print("\n".join(map(_described, found)) or "No cluster is kept: %dist_init --keep.")

    @line_magic
    @takes()
    def dist_shutdown(self, line: str) -> None:
        """Stop the engines that this session started, and those of a kept cluster that it joined.

        Other engines that it joined are left running, with their process group destroyed.
        """
        parse(self.dist_shutdown, line)
        self.session().shutdown()


def _where(args: Namespace) -> dict[str, Any]:
    """The options given that say where the engines start."""
    names = ("slurm", "ssh", "mpi", "nodes", "profile", "python", "address")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    # --slurm and --mpi without a value.
    return {name: True if value == "" else value for name, value in given.items()}


def _refuse_contradictions(args: Namespace) -> None:
    if args.cluster_id:
        for name in ("slurm", "ssh", "mpi", "keep"):
            if getattr(args, name) is not None:
                raise InputError(
                    f"--{name} starts ranks and --cluster-id joins some: leave out one of them."
                )
    if args.backend and "=" in args.backend:
        raise InputError(
            f"{args.backend!r} is not a backend: put options of sbatch in quotation marks, "
            '--slurm "partition=gpu time=1:00:00".'
        )


def _offer_kept() -> None:
    """Name the kept clusters that no notebook uses; none is joined automatically."""
    for kept in api.clusters():
        if kept.users == ():  # None: unknown
            print(f"Kept: {_described(kept)}. %dist_init --cluster-id {kept.name} joins it.")


def _described(kept: Kept) -> str:
    """``1795-ab on login: 4 ranks of the local cluster, since 14:05, used by nobody``."""
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.since))
    text = (
        f"{kept.name} on {kept.host}: {plural(kept.ranks, 'rank')} of {kept.where}, since {since}"
    )
    if kept.users is None:  # only its keeper knows
        return text
    return f"{text}, used by {' and '.join(kept.users) or 'nobody'}"


def _tell_of_idle_nodes(session: Session) -> None:
    """Say that an allocation has more nodes than the ranks use."""
    if not slurm.may_have_others() or not slurm.is_in_job():
        return
    if (idle := slurm.idle_nodes({state.host for state in session.states()})) > 0:
        print(
            f"{plural(idle, 'node')} of this allocation (job {slurm.own_job()}) "
            f"{agree(range(idle), 'is', 'are')} idle: %dist_shutdown, then %dist_init --slurm, "
            "uses all."
        )


def _start(args: Namespace) -> Session:
    return api.start(
        args.backend,
        args.n,
        **_where(args),
        gpus=args.gpus,
        **({} if args.keep is None else {"keep": args.keep}),
        timeout_minutes=1 if args.timeout is None else args.timeout,
        check=bool(args.check),
        share_gpus=bool(args.share_gpus),
    )


def _connect(args: Namespace) -> Session:
    is_file = args.cluster_id.endswith(".json")
    return api.connect(
        args.backend,
        args.n,
        profile=args.profile,
        cluster_id=None if is_file else args.cluster_id,
        connection_file=args.cluster_id if is_file else None,
        timeout_minutes=args.timeout,
        check=args.check,
        share_gpus=args.share_gpus,
    )


def _in_one_line(session: Session) -> str:
    """The session's group: ``4 ranks, gloo, generation 2``."""
    ranks = plural(session.world_size, "rank")
    return f"{ranks}, {session.backend}, generation {session.generation}"
