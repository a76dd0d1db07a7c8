"""A script to run as a launcher would: the variables of its ranks, and what is refused."""

from __future__ import annotations

import io
import shlex
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rankbook.cluster.placement import Place, Placement
from rankbook.errors import InputError
from rankbook.models.cells import Script

__all__ = ["check", "for_ranks", "line"]


def line(script: Script) -> str:
    """What the user types to run it."""
    return shlex.join(
        ["%dist_run", *(["-m"] if script.is_module else []), script.path, *script.args]
    )


def check(script: Script) -> None:
    """Refuse a script that no rank can run, where ranks see the same files.

    Raises:
        InputError: There is no such file, or it is not Python.
    """
    if script.is_module:
        return
    path = Path(script.folder, script.path)
    if path.is_dir():
        path = path / "__main__.py"
        if not path.exists():
            raise InputError(
                f"{script.path!r} is a folder without __main__.py: give the path of a script."
            )
    try:
        with io.open_code(str(path.absolute())) as file:
            source = file.read()
    except OSError as error:
        raise InputError(
            f"cannot open {script.path!r} ({error.strerror}) in {script.folder or 'this folder'}:"
            " give the path of a script, or -m and the name of a module."
        ) from None
    if path.suffix == ".ipynb":  # JSON, most of which is Python that does nothing
        raise InputError(
            f"{script.path!r} is a notebook, and %dist_run runs scripts: make one of it with "
            f"`jupyter nbconvert --to script {shlex.quote(script.path)}`."
        )
    try:
        compile(source, script.path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        shown = "".join(traceback.format_exception_only(error)).rstrip()
        raise InputError(f"{shown}\nThe script was not run on any rank.") from None


def for_ranks(script: Script, placement: Placement, ranks: Sequence[int]) -> dict[int, Script]:
    """By rank of the session, the script with the variables that a launcher would set there.

    Args:
        script: The script, without these variables.
        placement: The places of the session's ranks.
        ranks: The ranks that run it: its world, in this order.
    """
    run = uuid.uuid4().hex
    places = [placement.places[rank] for rank in ranks]
    hosts = list(dict.fromkeys(place.host for place in places))
    return {
        place.rank: replace(
            script,
            world=tuple(ranks),
            variables={**_variables(places, number, hosts), "TORCHELASTIC_RUN_ID": run},
        )
        for number, place in enumerate(places)
    }


def _variables(places: Sequence[Place], number: int, hosts: Sequence[str]) -> Mapping[str, str]:
    """What torchrun sets for one of its workers, except MASTER_ADDR and MASTER_PORT."""
    place = places[number]
    beside = [other.rank for other in places if other.host == place.host]
    values = {
        "RANK": number,
        "WORLD_SIZE": len(places),
        "LOCAL_RANK": beside.index(place.rank),
        "LOCAL_WORLD_SIZE": len(beside),
        "GROUP_RANK": hosts.index(place.host),
        "GROUP_WORLD_SIZE": len(hosts),
        "ROLE_RANK": number,
        "ROLE_WORLD_SIZE": len(places),
        "ROLE_NAME": "default",
        "TORCHELASTIC_RESTART_COUNT": 0,
        "TORCHELASTIC_MAX_RESTARTS": 0,
        # Processes of the script must not look for an agent's store at their own port.
        "TORCHELASTIC_USE_AGENT_STORE": False,
    }
    return {name: str(value) for name, value in values.items()}
