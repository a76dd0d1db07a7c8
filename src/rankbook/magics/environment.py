"""Versions, hardware and environment of the ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class

from rankbook.magics.base import RankMagics
from rankbook.magics.usage import parse, takes

# What shows results is imported when there are some: loading the extension must stay quick.
if TYPE_CHECKING:
    from rankbook.display.environment import Environments

__all__ = ["EnvironmentMagics"]


@magics_class
class EnvironmentMagics(RankMagics):
    """``%dist_env``."""

    @line_magic
    @takes()
    def dist_env(self, line: str) -> Environments:
        """Show what every rank runs with, and what differs between ranks.

        Versions (python, torch, rankbook, CUDA, NCCL), host, folder, GPUs, threads, and the
        environment variables that launchers, torch, NCCL, gloo and OpenMP read. What looks like a
        secret is masked. It answers while a cell runs or hangs.
        """
        from rankbook.display.environment import Environments

        # This imports ipyparallel, which loading the extension must not do.
        from rankbook.sessions.members.environment import environments

        parse(self.dist_env, line)
        members = self.session().members
        size = members.placed().world_size
        found = environments(members.living())
        return Environments(found, set(range(size)) - found.keys(), members.named_mesh)
