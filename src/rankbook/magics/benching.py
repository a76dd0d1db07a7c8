"""Measuring collectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class

from rankbook.bench.collectives import BUS
from rankbook.magics.base import RankMagics
from rankbook.magics.lines import number_of
from rankbook.magics.options import NAMES_THERE, option
from rankbook.magics.usage import parse, takes

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.models.benchmarks import Benchmark

__all__ = ["BenchMagics"]


@magics_class
class BenchMagics(RankMagics):
    """``%dist_bench``."""

    @line_magic
    @takes(
        option(
            "collective",
            completes=tuple(BUS),
            help="all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, reduce, gather, "
            "scatter or send_recv (each rank to the next).",
        ),
        option(
            "--sizes",
            default="1K:64M",
            metavar="SIZES",
            help="FROM:TO in steps of 4 times, FROM:TO:FACTOR, or a list such as 4K,1M. "
            "Default: 1K:64M.",
        ),
        option(
            "--group",
            default="",
            metavar="NAME",
            completes=NAMES_THERE,
            help="A dimension of the mesh, or a variable of the ranks that holds a group. All "
            "groups of that name measure at the same time. Default: all ranks.",
        ),
        option(
            "--rounds",
            type=int,
            default=20,
            metavar="N",
            help="Repetitions of each size; the median counts. Default: 20.",
        ),
    )
    def dist_bench(self, line: str) -> Benchmark:
        """Measure latency and bandwidth of a collective, by size: a table, a fit, and a plot.

        A size is that of the largest buffer, as nccl-tests count it, of float32 on the rank's
        device. Each repetition begins together and lasts as long as on its slowest rank.
        Algorithm bandwidth is size divided by time. Bus bandwidth is scaled to what each link
        carries, so that operations and numbers of ranks can be compared. The fit, time = alpha +
        size / bandwidth, is by least squares of the relative errors. The line below the title says
        what carried the bytes: with gloo on one machine that is no network.

        Examples::

            %dist_bench all_reduce
            %dist_bench all_gather --sizes 4K:16M:2 --group dp
        """
        args = parse(self.dist_bench, line)
        number = number_of(self.shell)
        return self.session().bench(
            args.collective, args.sizes, args.group, rounds=args.rounds, number=number
        )
