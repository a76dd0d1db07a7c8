"""A local engine: ipyparallel's, with our agent in it from the first message on."""

from __future__ import annotations

from typing import Any

from ipyparallel.engine.app import IPEngine

from rankbook.engine import agent

__all__ = ["RankEngine"]


class RankEngine(IPEngine):
    """An engine that answers sessions as soon as the cluster knows it."""

    def start_heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Install the agent, then start to beat.

        The hub announces an engine after its first heartbeat, so no session can ask too early.
        """
        agent.install(self.kernel)
        super().start_heartbeat(*args, **kwargs)
