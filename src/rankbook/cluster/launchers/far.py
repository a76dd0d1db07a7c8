"""A controller here and engines elsewhere: how they find it, and how strangers are kept out."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ipyparallel.cluster.cluster import Cluster

from rankbook.cluster.hosts.addresses import is_loopback
from rankbook.cluster.launchers.cluster import ClusterLauncher, beside_loops
from rankbook.cluster.launchers.forking import LocalController
from rankbook.errors import InputError

__all__ = ["FarLauncher"]

_log = logging.getLogger(__name__)

_BEAT = 500
"""Milliseconds between two heartbeats of the controller."""

_ALONE = 45
"""Heartbeats that an engine misses before it ends: enough for a network outage of half a minute,
and within a minute of the controller's end. An engine counts them a second apart."""

_CONTROLLER_OPTIONS = (
    f"--HeartMonitor.period={_BEAT}",
    # The launcher reports the end of an engine.
    "--HeartMonitor.max_heartmonitor_misses=240",
    # Clients are on this host.
    "--IPController.client_ip=127.0.0.1",
    "--IPController.monitor_ip=127.0.0.1",
)


class FarLauncher(ClusterLauncher):
    """Starts a controller to which engines elsewhere connect.

    Args:
        nproc: Number of engines.
        python: The interpreter there; None: the path of this one.
        gpus: ``CUDA_VISIBLE_DEVICES`` of the engines, empty leaves it as it is.
        address: This host's address for the engines; empty to find it.
    """

    def __init__(
        self, nproc: int, python: str | None = None, gpus: str = "", address: str = ""
    ) -> None:
        super().__init__(
            Cluster(
                log=_log,
                n=nproc,
                controller=LocalController,
                load_profile=False,
                send_engines_connection_env=False,
            )
        )
        self.python = python or sys.executable
        self.address = address
        self._gpus = gpus
        self._info: dict[str, Any] = {}

    @abstractmethod
    def preview(self) -> list[str]:
        """The commands that would run, for display."""

    @abstractmethod
    def find_address(self) -> str:
        """The address of this host at which the engines' hosts reach it.

        Raises:
            ClusterError: There is none, or the hosts do not tell.
        """

    def settle_address(self) -> None:
        """Find the address, or refuse a given loopback address that the engines cannot reach.

        Raises:
            InputError: The engines' hosts cannot reach it.
            ClusterError: None is found.
        """
        if self.address and not is_loopback(self.address):
            return
        found = self.find_address()
        if self.address and not is_loopback(found):
            raise InputError(
                f"{self.address} is loopback, which other hosts cannot reach: leave out --address "
                f"(or address=…), and it is {found}."
            )
        self.address = self.address or found

    def start_controller(self) -> None:
        """Start the controller at :attr:`address`; it refuses strangers."""
        self.cluster.controller_args = [
            *_CONTROLLER_OPTIONS,
            f"--IPController.engine_ip={self.address}",
            f"--IPController.location={self.address}",
            "--IPController.enable_curve=True",
        ]
        self.cluster.start_controller_sync()

    def at_end(self, command: Sequence[str]) -> None:
        """Have the controller run a command when this process ends in any way."""
        lifeline = self.cluster.controller.lifeline
        lifeline.write(json.dumps(list(command)).encode() + b"\n")
        lifeline.flush()

    @property
    def info(self) -> dict[str, Any]:
        """How engines reach the controller; waits until it is up."""
        if not self._info:
            found: list[dict[str, Any]] = []

            def ask() -> None:
                controller = self.cluster.controller
                found.append(asyncio.run(controller.get_connection_info())["engine"])

            beside_loops(ask)
            self._info = found[0]
        return self._info

    def env(self) -> dict[str, str]:
        """Variables added to the environment of the engines."""
        env = {"IPP_CONNECTION_INFO": json.dumps(self.info), "IPP_CLUSTER_ID": self.cluster_id}
        if self._gpus:
            env["CUDA_VISIBLE_DEVICES"] = self._gpus
        return env

    def engine_options(self) -> list[str]:
        """Options of each engine."""
        return [f"--IPEngine.max_heartbeat_misses={_ALONE}", "--IPEngine.timeout=20"]

    def stop(self) -> None:
        """Stop the controller, and remove its files."""
        with suppress(Exception):  # its files go in any case, and it ends with its lifeline
            super().stop()
        for path in Path(self.cluster.profile_dir).glob(f"*/*{self.cluster_id}*"):
            with suppress(OSError):  # somebody else has removed it
                path.unlink()
