"""What is compared: how each contender starts ranks, runs a cell on them and resets the group."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from kernel import Kernel

__all__ = ["CONTENDERS", "Contender"]

_RESET = """\
import os
generation = globals().get("generation", 0) + 1
meeting_point = f"file://{os.getcwd()}/{generation}"
dist.destroy_process_group()
dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=world_size)"""
"""The ranks meet in a file: with torch's ``env://``, the second time in a process can hang."""


_CLUSTER = """\
cluster = ipyparallel.Cluster(n={n})
client = cluster.start_and_connect_sync(activate=True)
client[:].scatter("rank", range({n}), flatten=True)
client[:].push(dict(world_size={n}, meeting_point=f"file://{{os.getcwd()}}/0"));"""

_JOIN = """\
%%px
import torch
import torch.distributed as dist
dist.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=world_size)"""

_POLL = """\
magic = get_ipython().magics_manager.registry["DistributedMagic"]
while True:
    try:
        magic._comm_manager.send_to_all("get_status", {}, timeout=0.2)
        break
    except TimeoutError:
        pass"""

_INIT = """\
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
rank, world_size = dist.get_rank(), dist.get_world_size()"""


class Contender:
    """The interface; every method returns cells."""

    name: ClassVar[str]
    package: ClassVar[str]
    load = ""
    """Cell that loads the extension, empty if there is none."""
    reset = _RESET
    """Cell that destroys the process group and makes another."""
    hang = ""
    """Cell that hangs, and ends by itself; empty where none does."""

    @classmethod
    def is_installed(cls) -> bool:
        """Whether it can take part."""
        return find_spec(cls.package) is not None

    def kernel(self, n: int) -> dict[str, object]:
        """Arguments of the :class:`~kernel.Kernel` for ``n`` ranks."""
        del n
        return {}

    def connected(self, kernel: Kernel) -> None:
        """Do what its front end extension does once the kernel answers."""

    def start(self, n: int) -> list[str]:
        """Cells from which on the group is initialised, and ``rank`` and ``dist`` are there."""
        raise NotImplementedError

    def on_ranks(self, code: str) -> str:
        """A cell that runs code on all ranks."""
        return code


class Rankbook(Contender):
    """This project."""

    name = "rankbook"
    package = "rankbook"
    load = "%load_ext rankbook"
    reset = "%dist_reset"
    hang = (
        "import rankbook\n"
        'assert rankbook.session().run("if rank: dist.all_reduce(t)").diagnosis.proven'
    )

    def start(self, n: int) -> list[str]:
        """One magic."""
        return [f"%dist_init gloo -n {n}"]

    def on_ranks(self, code: str) -> str:
        """A magic."""
        return f"%%dist\n{code}"


class OtherRankbook(Rankbook):
    """The same of another checkout, ``run.py --other``: shows what a change costs."""

    name = "other"
    source: ClassVar[str] = ""
    """Its folder ``src``; empty: there is none."""

    @classmethod
    def is_installed(cls) -> bool:
        """Whether a checkout was named."""
        return bool(cls.source)

    def kernel(self, n: int) -> dict[str, object]:
        """Its source comes before what is installed, in the engines as well."""
        del n
        return {"env": {"PYTHONPATH": self.source}}


class RankbookBare(Rankbook):
    """Without the dashboard: tells what that costs. Takes part only when asked for."""

    name = "rankbook-bare"

    def start(self, n: int) -> list[str]:
        """One magic."""
        return [f"%dist_init gloo -n {n} --no-dashboard"]


class Ipyparallel(Contender):
    """Its own cluster and ``%%px``, as one would write it by hand."""

    name = "ipyparallel"
    package = "ipyparallel"
    load = "import os, ipyparallel"
    reset = f"%%px\n{_RESET}"

    def start(self, n: int) -> list[str]:
        """A cluster, what the ranks need to know, the group."""
        return [_CLUSTER.format(n=n), _JOIN]

    def on_ranks(self, code: str) -> str:
        """A magic."""
        return f"%%px\n{code}"


class Nbdistributed(Contender):
    """nbdistributed.

    Its ``%dist_init`` returns before the workers listen, and a cell that comes too early (as with
    *Run All*) is lost. So the same cell goes on to ask the workers until they answer, which no
    user would know to write.
    """

    name = "nbdistributed"
    package = "nbdistributed"
    load = "%load_ext nbdistributed"

    def start(self, n: int) -> list[str]:
        """The magic and the poll."""
        return [f"%dist_init -n {n}\n{_POLL}"]


class JupyterDistributed(Contender):
    """jupyter-distributed: the kernel is a proxy of N kernels."""

    name = "jupyter-distributed"
    package = "jupyter_distributed"

    def kernel(self, n: int) -> dict[str, object]:
        """What its server extension starts."""
        return {
            "argv": [sys.executable, "-m", "jupyter_distributed.kernel", "-f", "{connection_file}"],
            "env": {
                "JUPYTER_DISTRIBUTED_WORLD_SIZE": str(n),
                "JUPYTER_DISTRIBUTED_BASE_KERNEL": "python3",
            },
        }

    def connected(self, kernel: Kernel) -> None:
        """Subscribe to live output, without which it is shown when the cell ends."""
        kernel.open_comm("jupyter.distributed.rank_updates")

    def start(self, n: int) -> list[str]:
        """The kernels are there; what is left is torch's."""
        del n
        return [_INIT]


CONTENDERS: dict[str, type[Contender]] = {
    c.name: c
    for c in (Rankbook, OtherRankbook, RankbookBare, Ipyparallel, Nbdistributed, JupyterDistributed)
}
