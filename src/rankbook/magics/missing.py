"""What to type where a plain cell lacks a name that ranks have, or the other way round.

Also where a plain cell needs a process group, which the notebook does not have.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from rankbook.words import in_words

if TYPE_CHECKING:
    from rankbook.sessions.cells.results import CellResult
    from rankbook.sessions.members.party import Party

__all__ = ["lacking", "only_here", "tell", "was_meant_for_ranks"]

_LACKED = re.compile(r"name '(\w+)' is not defined")
_OF_A_RANK = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_NO_RANK = re.compile(
    "Default process group has not been initialized|Error initializing torch.distributed using env"
)
_NOT_FIRST = re.compile("magic function `%?(%%(?:dist|rank|local))` not found")
_RUN = re.compile(r"^\s*%run\s+(?!-)(.+)$", re.MULTILINE)


def lacking(result: Any) -> str:
    """The undefined name at which a cell failed; empty if it did not fail so.

    Args:
        result: IPython's result of the cell.
    """
    error = result.error_in_exec
    is_silent = result.info is not None and result.info.silent
    return (error.name or "") if isinstance(error, NameError) and not is_silent else ""


def was_meant_for_ranks(result: Any, shown: BaseException | None = None) -> str:
    """Say what to type where code that needs a process group ran in the notebook itself.

    Args:
        result: IPython's result of the cell.
        shown: An exception that was shown although the cell went on, as ``%run`` does.

    Returns:
        A line; empty if the cell did not fail so.
    """
    error = result.error_in_exec or shown
    if isinstance(error, UsageError) and (found := _NOT_FIRST.search(str(error))):
        return f"{found[1]} must be the first line of its cell: put what is above it below."
    is_meant = (
        isinstance(error, KeyError) and error.args[:1] in [(name,) for name in _OF_A_RANK]
    ) or (isinstance(error, ValueError) and _NO_RANK.match(str(error)))
    if not is_meant or result.info is None or result.info.silent:
        return ""
    run = _RUN.search(result.info.raw_cell)
    what = f"%dist_run {run[1].strip()} runs it" if run else "%%dist at the top of the cell runs it"
    return f"This ran in the notebook itself, which is not a rank: {what} on the ranks."


def tell(name: str, party: Party, world_size: int) -> None:
    """Say which ranks have a name, below the traceback; nothing if none does.

    Args:
        name: The name.
        party: The ranks that live.
        world_size: How many ranks there are.
    """
    from rankbook.sessions.members.inspecting import inspect

    having = [rank for rank, found in inspect(party, name).items() if found.is_found]
    if not having:
        return
    on = "" if len(having) == world_size else f"-r {','.join(map(str, having))} "
    print(
        f"{name} is on {in_words(having)}, not in the notebook itself: %dist {on}{name} shows it "
        f"there, %dist_pull {on}{name} brings it here.",
        file=sys.stderr,
    )


def only_here(result: CellResult, names: Mapping[str, Any]) -> str:
    """Say how ranks get a name that they lacked, and that the notebook has.

    Args:
        result: What a cell did on the ranks.
        names: The notebook's variables.

    Returns:
        A line; empty if the cell did not fail so.
    """
    lacking: dict[str, list[int]] = {}
    for rank, done in result.items():
        is_lack = done.error is not None and done.error.ename == "NameError"
        found = _LACKED.match(done.error.evalue) if done.error and is_lack else None
        if found and found[1] in names:
            lacking.setdefault(found[1], []).append(rank)
    if not lacking:
        return ""
    name, ranks = next(iter(lacking.items()))
    return f"{name} is in the notebook itself, not on {in_words(ranks)}: {_how(name, names[name])}."


def _how(name: str, value: Any) -> str:
    """What to type so that ranks have a value."""
    if isinstance(value, ModuleType):
        return "import it in a %%dist cell"
    if isinstance(value, (FunctionType, type)):
        return "a cell with %%dist at its top defines it there"
    return f"%dist_push {name} sends it"
