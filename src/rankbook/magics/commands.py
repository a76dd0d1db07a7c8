"""The magics: parse a line, delegate to the session, show what it says."""

from __future__ import annotations

from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING

from IPython.core.magic import (
    Magics,
    cell_magic,
    line_cell_magic,
    line_magic,
    magics_class,
    no_var_expand,
)
from IPython.core.magic_arguments import argument, magic_arguments

from rankbook import api
from rankbook.display.table import Table
from rankbook.display.verdict import Verdict
from rankbook.errors import InputError, SessionError
from rankbook.magics.mode import Mode
from rankbook.magics.running import run_cell
from rankbook.magics.usage import parse, parse_with_code, plain_errors
from rankbook.models import ON_HANG
from rankbook.words import plural

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rankbook.sessions.session import Session

__all__ = ["RankMagics"]


@magics_class
class RankMagics(Magics):
    """``torch.distributed`` from one notebook."""

    shell: InteractiveShell

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.mode = Mode()

    # -- the group ---------------------------------------------------------------------------

    @line_magic
    @magic_arguments("dist_init")
    @argument(
        "backend",
        nargs="?",
        help="nccl, gloo, ... Default: nccl where every rank has a GPU of its own, else gloo.",
    )
    @argument(
        "-n",
        type=int,
        metavar="N",
        help="Number of ranks. Default: one per visible GPU, 2 without GPUs, "
        "or as many as the joined cluster has engines.",
    )
    @argument(
        "--timeout",
        type=float,
        metavar="MIN",
        help="Minutes that initialising and every collective may take. Default: 1.",
    )
    @argument(
        "--check",
        action="store_true",
        default=None,
        help="Compare every collective across ranks before it runs: mistakes become errors "
        "instead of hangs, small collectives become several times slower.",
    )
    @argument("--no-check", dest="check", action="store_false", help="End that.")
    @argument(
        "--on-hang",
        choices=ON_HANG,
        help="When it is proven that a cell cannot end: free its ranks (the default), only "
        "report it, or wait. It holds for this session.",
    )
    @argument("--gpus", default="", metavar="0,1", help="GPUs that local engines may use.")
    @argument(
        "--profile",
        metavar="P",
        help="IPython profile whose ipcluster_config.py starts the engines (Slurm, SSH, ...), "
        "or whose running cluster --cluster-id joins.",
    )
    @argument(
        "--cluster-id",
        metavar="ID",
        help="Join the running cluster of this id (see `ipcluster list`), "
        "or the one of a connection file (a path that ends in .json). With nothing else asked for, "
        "a process group that its engines are in is kept as it is.",
    )
    @argument("--no-dashboard", action="store_true", help="Show no dashboard.")
    @plain_errors
    def dist_init(self, line: str) -> None:
        """Start or join a cluster and initialise the process group on it.

        Called again, it initialises anew in place: another backend, timeout or number of ranks.
        Engines and their variables are kept.

        After a restart of the kernel, --cluster-id alone (no backend, -n, --timeout or --check)
        finds a joined cluster as it was left: its ranks, their group and variables, and what they
        are doing. %dist_status, %dist_why, %dist_interrupt and %dist_reset work at once.

        Examples::

            %dist_init
            %dist_init gloo -n 4 --timeout 5
            %dist_init --check
            %dist_init nccl --gpus 0,1
            %dist_init --profile slurm -n 16
            %dist_init --cluster-id 1700000000-abcd
        """
        args = parse(self.dist_init, line)
        if not args.no_dashboard:
            # It takes a while, as the engines do: at the same time.
            Thread(target=import_module, args=("rankbook.widgets",), daemon=True).start()
        session = api.session()
        if session is not None and (args.profile or args.cluster_id or args.gpus):
            raise SessionError(
                "This notebook has a cluster already: write %dist_shutdown before another one."
            )
        if session is not None:
            session.initialize(args.backend, args.n, args.timeout, check=args.check)
        elif args.cluster_id:
            is_file = args.cluster_id.endswith(".json")
            session = api.connect(
                args.backend,
                args.n,
                profile=args.profile,
                cluster_id=None if is_file else args.cluster_id,
                connection_file=args.cluster_id if is_file else None,
                timeout_minutes=args.timeout,
                check=args.check,
            )
        else:
            session = api.start(
                args.backend,
                args.n,
                profile=args.profile,
                gpus=args.gpus,
                timeout_minutes=1 if args.timeout is None else args.timeout,
                check=bool(args.check),
            )
        session.on_hang = args.on_hang or session.on_hang
        if args.no_dashboard:
            print(_said(session))
        else:
            session.dashboard().display()

    @line_magic
    @magic_arguments("dist_reset")
    @argument("backend", nargs="?", help="Another backend. Default: the present one.")
    @argument("--hard", action="store_true", help="Replace the engines. Their variables are lost.")
    @plain_errors
    def dist_reset(self, line: str) -> None:
        """Run destroy_global_state on every rank, then initialise a new generation.

        Engines and their variables are kept, unless --hard is given.
        """
        args = parse(self.dist_reset, line)
        session = self._session()
        session.reset(args.backend, args.hard)
        print(_said(session))

    @line_magic
    @magic_arguments("dist_restart")
    @argument(
        "ranks", nargs="*", help="0, 0,2, 0-3, 1:, ::2, [0,2] or -1. Default: those that died."
    )
    @plain_errors
    def dist_restart(self, line: str) -> None:
        """Give ranks new processes, and initialise a new generation with the others as they are.

        The new processes stand where the old ones stood, on the same GPUs, and start empty. The
        other ranks keep their variables.
        """
        session = self._session()
        session.restart_ranks(line.strip() or None)
        print(_said(session))

    @line_magic
    @magic_arguments("dist_shutdown")
    @plain_errors
    def dist_shutdown(self, line: str) -> None:
        """Stop the engines that this session started.

        Engines that it joined are left running, with their process group destroyed.
        """
        parse(self.dist_shutdown, line)
        self._session().shutdown()

    # -- cells -------------------------------------------------------------------------------

    @no_var_expand  # {x} in a line for the ranks is theirs
    @line_cell_magic
    @magic_arguments("%dist")
    @argument(
        "-r",
        "--ranks",
        default="all",
        metavar="RANKS",
        help="all, 0, 0,2, 0-3, 1:, ::2, [0,2] or -1. Default: all.",
    )
    @argument("-o", "--out", metavar="NAME", help="Keep the CellResult in this variable here.")
    @argument("--timeout", type=float, metavar="S", help="Interrupt the cell after S seconds.")
    @argument("--on-hang", choices=ON_HANG, help="See %%dist_init; for this cell only.")
    @argument("--no-wait", action="store_true", help="Go on at once; the output follows.")
    @argument("expression", nargs="*", help="For %%dist: what to run.")
    @plain_errors
    def dist(self, line: str, cell: str | None = None) -> None:
        """Run a cell (%%dist) or a line (%dist EXPR) on all ranks or on some.

        What IPython understands in a cell works on the ranks: !shell, line magics, await, a
        trailing semicolon. Every rank finds torch, dist, rank, world_size, local_rank, device
        and dist_info. A cell that fails on a rank fails here, too.

        Examples::

            %%dist -r 0,2 -o result
            x = torch.ones(2, device=device) * rank
            dist.all_reduce(x)
            x

            %dist x.sum()
        """
        if cell is None:
            args, cell = parse_with_code(self.dist, line)
        else:
            args = parse(self.dist, line)
            if args.expression:
                raise InputError(
                    f"{' '.join(args.expression)!r} is no option of %%dist: code goes below it."
                )
        if not cell.strip():
            raise InputError("There is nothing to run: write code below %%dist, or %dist EXPR.")
        run_cell(
            self.shell,
            self._session(),
            cell,
            args.ranks,
            timeout=args.timeout,
            out=args.out,
            on_hang=args.on_hang,
            wait=not args.no_wait,
        )

    @cell_magic
    @magic_arguments("%rank")
    @argument("ranks", nargs="*", help="all, 0, 0,2, 0-3, 1:, ::2, [0,2] or -1.")
    @plain_errors
    def rank(self, line: str, cell: str) -> None:
        """Run a cell on some ranks: short for %%dist -r RANKS."""
        # Not argparse: it would take the rank -1 for an option.
        run_cell(self.shell, self._session(), cell, line.strip())

    @cell_magic
    def local(self, line: str, cell: str) -> None:
        """Run a cell here, in the notebook's own process, while %dist_mode is on."""
        # In a notebook the transformer below has taken the line off; this is for run_cell_magic.
        del line
        self.shell.run_cell(cell)

    @line_magic
    @magic_arguments("dist_mode")
    @argument("mode", choices=["on", "off"], help="on: plain cells run on all ranks.")
    @plain_errors
    def dist_mode(self, line: str) -> None:
        """Run every plain cell on all ranks, until turned off.

        Magics stay here, and so do cells that start with %%local.
        """
        self.mode.on = parse(self.dist_mode, line).mode == "on"
        if self.mode.on:
            print(
                "Plain cells run on all ranks now; %%local keeps one here, %dist_mode off ends it."
            )

    # -- looking, interrupting ---------------------------------------------------------------

    @line_magic
    @magic_arguments("dist_status")
    @plain_errors
    def dist_status(self, line: str) -> Table:
        """Show every rank: engine, host, pid, device, backend, state, collective, memory.

        It answers while a cell runs or hangs.
        """
        parse(self.dist_status, line)
        return Table(self._session().snapshot())

    @line_magic
    @magic_arguments("dist_why")
    @plain_errors
    def dist_why(self, line: str) -> Verdict:
        """Say what the ranks do or wait for, and why: one sentence, then a line per rank.

        It answers while a cell runs or hangs.
        """
        parse(self.dist_why, line)
        return Verdict(self._session().diagnose())

    @line_magic
    @magic_arguments("dist_interrupt")
    @plain_errors
    def dist_interrupt(self, line: str) -> None:
        """Free the ranks, as the stop button does while a cell waits. Their variables stay.

        Python gets a KeyboardInterrupt. A collective that waits is ended on every rank, and the
        group is initialised again.
        """
        parse(self.dist_interrupt, line)
        print("Interrupted." if self._session().interrupt() else "Nothing runs on any rank.")

    @line_magic
    @magic_arguments("dashboard")
    @plain_errors
    def dashboard(self, line: str) -> None:
        """Show the dashboard again."""
        parse(self.dashboard, line)
        self._session().dashboard().display()

    # -- values ------------------------------------------------------------------------------

    @line_magic
    @magic_arguments("dist_pull")
    @argument("names", nargs="+", metavar="NAME", help="Variables of the ranks.")
    @argument("-r", "--ranks", default="all", metavar="RANKS", help="From which. Default: all.")
    @plain_errors
    def dist_pull(self, line: str) -> None:
        """Bring variables here: NAME becomes {rank: value}. Tensors arrive on the CPU."""
        args = parse(self.dist_pull, line)
        session = self._session()
        # All or nothing: a missing name must not leave half of them changed here.
        self.shell.push({name: session.pull(name, args.ranks) for name in args.names})

    @line_magic
    @magic_arguments("dist_push")
    @argument("names", nargs="+", metavar="NAME", help="Variables of this notebook.")
    @argument("-r", "--ranks", default="all", metavar="RANKS", help="To which. Default: all.")
    @plain_errors
    def dist_push(self, line: str) -> None:
        """Send variables of this notebook to the ranks, under the same names."""
        args = parse(self.dist_push, line)
        session = self._session()
        missing = [name for name in args.names if name not in self.shell.user_ns]
        if missing:
            raise InputError(f"There is no {missing[0]!r} in this notebook: assign it first.")
        session.push(args.ranks, **{name: self.shell.user_ns[name] for name in args.names})

    # ----------------------------------------------------------------------------------------

    def _session(self) -> Session:
        session = api.session()
        if session is None:
            raise SessionError("There are no ranks: write %dist_init first.")
        return session


def _said(session: Session) -> str:
    """A group in one line."""
    ranks = plural(session.world_size, "rank")
    return f"{ranks}, {session.backend}, generation {session.generation}"
