"""The options that several magics share, each declared once.

An :class:`Option` holds what ``ArgumentParser.add_argument`` is given, so a command line can use
the same declarations as the magics: this module knows nothing of IPython.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass, replace
from keyword import iskeyword
from typing import Any

from rankbook.words import ON_HANG as _ON_HANG

__all__ = [
    "ADDRESS",
    "BACKEND",
    "CHECK",
    "CHECKPOINT",
    "CLUSTER_ID",
    "FILES",
    "GPUS",
    "KEEP",
    "MPI",
    "NAMES",
    "NAMES_HERE",
    "NAMES_THERE",
    "NODES",
    "NO_CHECK",
    "NO_WAIT",
    "NPROC",
    "ON_HANG",
    "OUT",
    "PDB",
    "PROFILE",
    "PYTHON",
    "RANKS",
    "RANK_SELECTIONS",
    "SAVE",
    "SCRIPTS",
    "SELECTION",
    "SLURM",
    "SOURCE",
    "SSH",
    "TIMEOUT_MINUTES",
    "TIMEOUT_SECONDS",
    "TRACE",
    "Option",
    "option",
    "variable",
]


def variable(text: str) -> str:
    """A name that a variable can have; raises ArgumentTypeError for any other."""
    if not text.isidentifier() or iskeyword(text):
        raise ArgumentTypeError(f"{text!r} cannot name a variable")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ArgumentTypeError(f"{text!r} is not a positive number of seconds, such as 30")
    return seconds


@dataclass(frozen=True)
class Option:
    """An argument of a magic, as ``ArgumentParser.add_argument`` is given it."""

    names: tuple[str, ...]
    """``-r`` and ``--ranks``; or the one name of a positional argument."""
    settings: Mapping[str, Any]
    """Keywords of ``add_argument``: ``help``, ``type``, ``default`` …"""
    completes: str | tuple[str, ...] = ()
    """What Tab offers for its value, beside its ``choices``: these words, or those of a kind,
    :data:`RANK_SELECTIONS` say."""

    @property
    def takes_value(self) -> bool:
        """Whether a value follows the option's name."""
        return self.names[0].startswith("-") and "action" not in self.settings

    @property
    def needs_value(self) -> bool:
        """Whether a value must follow; an optional one is written after ``=``."""
        return self.takes_value and self.settings.get("nargs") != "?"

    def but(self, *, completes: str | tuple[str, ...] = (), **settings: Any) -> Option:
        """The same option with some settings changed, mostly its help."""
        return replace(
            self,
            settings={**self.settings, **settings},
            completes=completes or self.completes,
        )


def option(*names: str, completes: str | tuple[str, ...] = (), **settings: Any) -> Option:
    """Declare an option as ``add_argument`` does; every one has a ``help``."""
    return Option(names, settings, completes)


RANK_SELECTIONS = "selections of ranks"
NAMES_HERE = "variables of the notebook"
NAMES_THERE = "variables of the ranks"
FILES = "files"
SCRIPTS = "scripts, and what follows them"


def _hours(text: str) -> float | bool:
    """A number of hours; True where the option has no value."""
    try:
        return float(text) if text else True
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a number of hours") from None


_RANKS = "all, 0, 0,2, 0-3, 1:, ::2, [0,2], -1, or after %%dist_mesh tp=0."

# -- the cluster and its group ---------------------------------------------------------------

BACKEND = option(
    "backend",
    nargs="?",
    completes=("gloo", "nccl"),
    help="nccl, gloo, ... Default: nccl where every rank has a GPU of its own, else gloo.",
)
NPROC = option(
    "-n",
    type=int,
    metavar="N",
    help="Number of ranks. Default: one per visible GPU, 2 without GPUs, "
    "or as many as the joined cluster has engines.",
)
TIMEOUT_MINUTES = option(
    "--timeout",
    type=float,
    metavar="MIN",
    help="Minutes that initialising and every collective may take. Default: 1.",
)
CHECK = option(
    "--check",
    action="store_true",
    default=None,
    help="Compare every collective across ranks before it runs: mistakes become errors "
    "instead of hangs, small collectives become several times slower.",
)
NO_CHECK = option("--no-check", dest="check", action="store_false", help="Turn --check off.")
GPUS = option("--gpus", default="", metavar="0,1", help="GPUs that the engines may use.")
SHARE_GPUS = option(
    "--share-gpus",
    action="store_true",
    default=None,
    help="Let several ranks of a host have the same GPU: with NCCL 2.30 or later, or with gloo, "
    "whose collectives take CUDA tensors, too.",
)
PROFILE = option(
    "--profile",
    metavar="P",
    help="IPython profile whose ipcluster_config.py starts the engines, "
    "or whose running cluster --cluster-id joins.",
)
SLURM = option(
    "--slurm",
    nargs="?",
    const=True,
    metavar="OPTIONS",
    help="Ranks in a job of Slurm's. Options of sbatch pass through: --slurm \"partition=gpu "
    "time=1:00:00 exclusive\". In a job's allocation, its nodes are used.",
)
NODES = option("--nodes", type=int, metavar="N", help="Number of nodes of the job.")
SSH = option(
    "--ssh",
    metavar="HOST:N,...",
    help="Ranks on hosts that ssh reaches without a password: --ssh alpha:4,beta:4.",
)
MPI = option(
    "--mpi",
    nargs="?",
    const=True,
    metavar="HOST:N,...",
    help="Ranks that mpiexec starts, here or on hosts: --mpi=alpha:2,beta:2. When one ends, all "
    "end.",
)
PYTHON = option(
    "--python",
    metavar="PATH",
    completes=FILES,
    help="The interpreter that has rankbook on the hosts. Default: the path of this one.",
)
ADDRESS = option(
    "--address",
    metavar="IP",
    help="This host's address for the ranks. Default: the one on the way to them.",
)
KEEP = option(
    "--keep",
    nargs="?",
    const=True,
    type=_hours,
    metavar="HOURS",
    help="Ranks, group and variables stay when the kernel ends; %%dist_clusters lists them. They "
    "end when no notebook has used them for HOURS and no cell runs. Default: 8.",
)
CLUSTER_ID = option(
    "--cluster-id",
    metavar="ID",
    help="Join the running cluster with this id (see `ipcluster list`), "
    "or the one of a connection file (a path that ends in .json). Without backend, -n, --timeout "
    "and --check, the process group that its engines are in is kept as it is.",
)
ON_HANG = option(
    "--on-hang",
    choices=_ON_HANG,
    help="What to do when it is proven that a cell cannot end: free its ranks (the default), only "
    "report it, or wait. It holds for this session.",
)

# -- ranks, and what is done on them ---------------------------------------------------------

RANKS = option(
    "-r",
    "--ranks",
    default="all",
    metavar="RANKS",
    help=f"Which ranks: {_RANKS} Default: all.",
    completes=RANK_SELECTIONS,
)
SELECTION = option("ranks", nargs="*", help=_RANKS, completes=RANK_SELECTIONS)
SOURCE = option(
    "--from",
    dest="source",
    metavar="RANK",
    completes=RANK_SELECTIONS,
    help="Run the imports, functions and classes of earlier cells on the new ranks, and "
    "copy the variables of RANK to them.",
)
CHECKPOINT = option(
    "--checkpoint",
    metavar="PATH",
    completes=FILES,
    help="With --from: have all ranks load modules and optimizers from PATH, which "
    "torch.distributed.checkpoint.save has made. Sharded ones need it.",
)
TIMEOUT_SECONDS = option(
    "--timeout", type=_seconds, metavar="S", help="Interrupt the cell after S seconds."
)
OUT = option(
    "-o",
    "--out",
    type=variable,
    metavar="NAME",
    help="Keep the CellResult in this notebook variable.",
)
NO_WAIT = option("--no-wait", action="store_true", help="Return at once; the output follows.")
PDB = option(
    "--pdb",
    action="store_true",
    help="Stop where it fails, and ask for commands of pdb as %%dist_debug does.",
)
SAVE = option(
    "--save",
    metavar="DIR",
    completes=FILES,
    help="Also save the ranks' last calls there, for torch's analyser: torchfrtrace DIR.",
)
TRACE = option(
    "--profile",
    "--trace",
    nargs="?",
    const="trace.json.gz",
    metavar="FILE",
    completes=FILES,
    help="Record it with torch's profiler on every rank: one trace of all ranks in FILE, for "
    "Perfetto, and a table of where the time went. Default: trace.json.gz.",
)
NAMES = option(
    "names", nargs="+", metavar="NAME", help="Names of variables.", completes=NAMES_THERE
)
