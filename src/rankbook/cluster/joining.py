"""Joining engines that ipyparallel started: finding their cluster, making them answer requests."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.profiledir import ProfileDir, ProfileDirError
from IPython.paths import get_ipython_dir

from rankbook._version import NEWEST_TORCH, __version__
from rankbook.cluster.transport.channel import Channel, everyone
from rankbook.errors import ClusterError, EngineError
from rankbook.models import EngineFacts, load
from rankbook.models.engines import GetFacts

if TYPE_CHECKING:
    import ipyparallel

__all__ = [
    "connection_file_of",
    "facts_of",
    "install_agents",
    "one_line",
    "profile_dir_of",
    "refuse_other_versions",
    "wake_agents",
    "warn_of_lacks",
    "warn_of_newer_torch",
]

_ANSWERS_WITHIN = 0.3
"""Seconds after which an engine that does not answer is assumed to have no agent; 0.02 is usual."""


def profile_dir_of(profile: str | None) -> Path:
    """The directory of an IPython profile.

    Args:
        profile: Its name, None is the default one.

    Raises:
        ClusterError: There is no such profile; ipyparallel itself would make an empty one.
    """
    try:
        found = ProfileDir.find_profile_dir_by_name(get_ipython_dir(), profile or "default")
    except ProfileDirError:
        raise ClusterError(
            f"There is no IPython profile {profile!r}: `ipython profile list` shows them, "
            f"`ipython profile create --parallel {profile}` makes one."
        ) from None
    return Path(found.location)


def connection_file_of(profile: str | None, cluster_id: str | None) -> Path:
    """The file in which the controller of a cluster writes how clients reach it.

    Args:
        profile: IPython profile, None is the default one.
        cluster_id: Its id, None for the profile's unnamed cluster.

    Raises:
        ClusterError: There is no such profile.
    """
    middle = f"-{cluster_id}" if cluster_id else ""
    return profile_dir_of(profile) / "security" / f"ipcontroller{middle}-client.json"


def wake_agents(client: ipyparallel.Client, channel: Channel) -> None:
    """Make the engines of a running cluster answer requests.

    Engines that already answer, from an earlier session, are left alone: they may be busy.

    Raises:
        EngineError: Some engine has no rankbook, or one that does not load.
    """
    from rankbook.models.looks import LookAt  # a start, which looks at none, is to be quick

    call = channel.request(everyone(client.ids, LookAt()))
    try:
        channel.wait(call, _ANSWERS_WITHIN)
        installing = _install_on(client, sorted(call.pending))
        # A slow engine with an agent answers before its main thread is free.
        channel.wait(
            call, until=lambda: all(r.ready() for e, r in installing.items() if e in call.pending)
        )
    finally:
        channel.forget(call)
    for engine in sorted(call.pending):
        _check(engine, installing[engine])


def install_agents(client: ipyparallel.Client) -> None:
    """Make engines that ipyparallel has just started answer requests.

    Raises:
        EngineError: Some engine has no rankbook, or one that does not load.
    """
    for engine, result in _install_on(client, client.ids).items():
        _check(engine, result)


def facts_of(channel: Channel, engines: Iterable[int], address: str) -> list[EngineFacts]:
    """Ask engines for their facts; they answer at any time.

    Args:
        channel: To them.
        engines: Their ids.
        address: The controller's address, for an engine to find its own address on that route.

    Raises:
        EngineError: One has another version of rankbook; the message names both, and the host.
        ClusterError: Some engines did not answer, or the controller is gone.
    """
    answers = channel.ask(everyone(engines, GetFacts(address)), timeout=60, again=2)
    facts = [load(EngineFacts, answers[engine]) for engine in sorted(answers)]
    refuse_other_versions(facts)
    warn_of_newer_torch(facts)
    warn_of_lacks(facts)
    return facts


def refuse_other_versions(facts: Sequence[EngineFacts]) -> None:
    """Refuse engines whose rankbook is another version than this process's.

    Raises:
        EngineError: The message names the first such engine, its host, and both versions.
    """
    for engine in facts:
        version = dict(engine.versions).get("rankbook", "of an unknown version")
        if version != __version__:
            raise EngineError(
                f"Engine {engine.engine} on {engine.host} has rankbook {version} and this notebook "
                f"has {__version__}: install one version in both, then restart the engines and "
                "this notebook's kernel."
            )


def warn_of_newer_torch(facts: Sequence[EngineFacts]) -> None:
    """Warn in one line about engines whose torch is newer than the newest tested one."""
    for engine in facts:
        torch = dict(engine.versions).get("torch", "")
        numbers = re.match(r"(\d+)\.(\d+)", torch)
        if numbers and (int(numbers[1]), int(numbers[2])) > NEWEST_TORCH:
            tested = ".".join(map(str, NEWEST_TORCH))
            warnings.warn(
                f"torch {torch} on {engine.host} is newer than {tested}, the newest that rankbook "
                f"{__version__} was tested with: hangs may not be explained. "
                "`pip install -U rankbook` brings the newest rankbook.",
                stacklevel=3,
            )
            return


def warn_of_lacks(facts: Sequence[EngineFacts]) -> None:
    """Warn, once for each lack, about what does not work with the engines' torch."""
    first = {lack: engine for engine in reversed(facts) for lack in engine.lacking}
    for lack, engine in first.items():
        torch = dict(engine.versions).get("torch", "")
        warnings.warn(f"With torch {torch}, {lack}", stacklevel=3)


def _install_on(client: ipyparallel.Client, engines: Iterable[int]) -> dict[int, Any]:
    """By engine, the result of installing an agent there."""
    return {engine: client[engine].apply_async(_install_agent) for engine in engines}


def _check(engine: int, result: Any) -> None:
    """Wait until an agent is installed.

    Raises:
        EngineError: It could not be.
    """
    try:
        host, problem = result.get()
    except Exception as error:
        raise EngineError(f"Engine {engine} does not answer: {one_line(error)}.") from error
    if problem:
        raise EngineError(
            f"Engine {engine} on {host} cannot serve as a rank ({problem}): "
            "run `pip install rankbook` in the environment of the engines there."
        )


def _install_agent() -> tuple[str, str]:
    """Runs on an engine, perhaps without rankbook; returns its host, and the problem or ""."""
    import socket

    host = socket.gethostname()
    try:
        from ipyparallel.engine.app import IPEngine

        from rankbook.engine import agent

        agent.install(IPEngine.instance().kernel)
    except Exception as error:  # noqa: BLE001 - reported to the notebook, with the host
        return host, f"{type(error).__name__}: {error}"
    return host, ""


# ipyparallel imports a function's module on the engine; for __main__ it sends the code.
_install_agent.__module__ = "__main__"


def one_line(error: BaseException) -> str:
    """The first line of an error's message, without its full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")
