"""The exercise on groups by hand: every rank makes every group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rankbook.ranks import label
from rankbook.teach.definitions import Exercise, Mistake, Seen, cell_of

if TYPE_CHECKING:
    from rankbook.teach.here import Here
from rankbook.teach.lessons.meshes import shared

__all__ = ["GROUPS"]


class _OutOfStepError(Exception):
    """Ranks make different groups with the same call."""


@contextmanager
def _in_step(here: Here, made: list[list[int]]) -> Iterator[None]:
    """Compare what the ranks pass to ``new_group``: torch does not, and hangs now or later.

    Args:
        here: The rank.
        made: Gets the members of each group that this rank asks for.
    """
    torch, dist, real = here.torch, here.dist, here.dist.new_group

    def new_group(ranks: Any = None, *args: Any, **how: Any) -> Any:
        if how.get("use_local_synchronization"):  # the members alone make their group
            return real(ranks, *args, **how)
        made.append(_read(here, ranks))
        asked = torch.tensor(sum(1 << rank for rank in made[-1]))
        low, high = asked.clone(), asked.clone()
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
        if low != high:
            raise _OutOfStepError
        return real(ranks, *args, **how)

    dist.new_group = new_group
    try:
        yield
    finally:
        dist.new_group = real


def _read(here: Here, ranks: Any) -> list[int]:
    if isinstance(ranks, int):
        raise TypeError("new_group takes a list of ranks, such as [0, 1], not numbers one by one")
    members = list(range(here.world_size) if ranks is None else ranks)
    if not all(isinstance(rank, int) for rank in members):
        raise TypeError("new_group takes the ranks of one group, such as [0, 1], not lists of them")
    return sorted(members)


def _try_groups(here: Here) -> list[str] | None:
    made: list[list[int]] = []
    try:
        with _in_step(here, made):
            groups = [here.my_group(lists) for lists in (shared.ROWS, shared.COLUMNS)]
    except _OutOfStepError:
        return _apart(made)
    if groups == [None, None]:
        return None
    here.note(
        outside=here.dist.GroupMember.NON_GROUP_MEMBER in groups,
        kinds=[type(group).__name__ for group in groups if _is_something_else(here, group)],
    )
    return [_members(here, group) for group in groups]


def _is_something_else(here: Here, group: Any) -> bool:
    outside = here.dist.GroupMember.NON_GROUP_MEMBER
    return not (isinstance(group, here.dist.ProcessGroup) or group == outside)


def _gave(*kinds: str) -> Callable[[Seen], bool]:
    """Whether a rank has returned something of these types in place of a group."""
    return lambda seen: any(set(kinds) & set(n.get("kinds", ())) for n in seen.notes.values())


def _members(here: Here, group: Any) -> str:
    """Whom a rank would meet in a group; nothing is sent, since others may have another group."""
    if isinstance(group, here.dist.ProcessGroup):
        return f"with ranks {label(here.dist.get_process_group_ranks(group))}"
    is_something_else = _is_something_else(here, group)
    return f"a {type(group).__name__}, no group" if is_something_else else "in no group"


def _apart(made: list[list[int]]) -> list[str]:
    """What is said of a rank that asked for these groups, the last one unlike other ranks."""
    return [f"new_group for {', then '.join(map(str, made))}"]


def _leaves_early(here: Here) -> list[str]:
    """What comes of returning as soon as a rank has its own row."""
    done = shared.ROWS[: shared.ROWS.index(shared.list_of(shared.ROWS, here.rank)) + 1]
    return _apart([*done, shared.COLUMNS[0]][:2])


def _grouped(*ways: list[list[int]]) -> Callable[[Here], list[str]]:
    return lambda here: [f"with ranks {label(shared.list_of(lists, here.rank))}" for lists in ways]


def _in_the_last(here: Here) -> list[str]:
    """What comes of keeping the group that was made last."""
    return [
        f"with ranks {label(lists[-1])}" if here.rank in lists[-1] else "in no group"
        for lists in (shared.ROWS, shared.COLUMNS)
    ]


_MESH = (
    "from torch.distributed.device_mesh import DeviceMesh",
    'mesh = DeviceMesh("cpu", lists)',
)

_groups_cell = partial(cell_of, "my_group(lists)")

GROUPS = Exercise(
    name="groups",
    title="Every rank makes every group",
    needs=("my_group",),
    tries=_try_groups,
    right=_grouped(shared.ROWS, shared.COLUMNS),
    hints=(
        "A loop over the lists, and in it one call of new_group, which every rank makes.",
        "Keep the group if rank in ranks; and go on with the loop.",
        "for ranks in lists: group = dist.new_group(ranks); if rank in ranks: mine = group. "
        "After the loop, return mine.",
    ),
    mistakes=(
        Mistake(
            "the-last",
            "The loop has overwritten what it had found: each rank returns the group that was made "
            "last, whether it is in it or not. Keep a group only if rank is in ranks.",
            _groups_cell(
                "for ranks in lists:", "    group = dist.new_group(ranks)", "return group"
            ),
            says="returned the group that was made last",
            gives=_in_the_last,
        ),
        Mistake(
            "everyone",
            "new_group() without ranks makes a group of all of them. Pass one of the lists.",
            _groups_cell("return dist.new_group()"),
            says="is in a group of all ranks",
            gives=_grouped([[0, 1, 2, 3]], [[0, 1, 2, 3]]),
        ),
        Mistake(
            "outside",
            "A rank has returned a group that it is not in; new_group returns -100 for such a "
            "group. The one to return is that of the list with this rank: if rank in ranks.",
            _groups_cell(
                "groups = [dist.new_group(ranks) for ranks in lists]", "return groups[rank // 2]"
            ),
            seen=lambda seen: (
                any(notes.get("outside") for notes in seen.notes.values())
                and set(seen.findings.values()) - {"right"} != {"the-last"}
            ),
        ),
        Mistake(
            "neighbours",
            "new_subgroups cuts the ranks into neighbours: that gives the rows. It does not look "
            "at the lists, and a column is no group of neighbours.",
            _groups_cell("return dist.new_subgroups(len(lists[0]))[0]"),
            says="is with its neighbour both times",
            gives=_grouped(shared.ROWS, shared.ROWS),
        ),
        Mistake(
            "a-pair",
            "new_subgroups and new_subgroups_by_enumeration return two things: the group of this "
            "rank, and a list of all groups. The first one, [0], is the group to return.",
            _groups_cell("return dist.new_subgroups_by_enumeration(lists)"),
            says="returned a pair of a group and a list",
            gives=lambda here: ["a tuple, no group"] * 2,  # noqa: ARG005 - the same on all ranks
        ),
        Mistake(
            "a-mesh",
            "A mesh is no group, nor is a slice of one. mesh.get_group(dim) is the group of one of "
            "its dimensions that this rank is in.",
            _groups_cell(*_MESH, "return mesh"),
            says="returned a mesh",
            seen=_gave("DeviceMesh"),
        ),
        Mistake(
            "several",
            "What was returned is not one group: a list of groups, or of ranks. Keep what "
            "new_group returns for the list with this rank, and return that.",
            _groups_cell("return [dist.new_group(ranks) for ranks in lists]"),
            says="returned something that is no group",
            seen=_gave("list", "dict", "int"),
        ),
        Mistake(
            "across",
            "The group along dimension 0 of that mesh has the ranks that stand in the same place "
            "of each list. The ranks of one list are its dimension 1: mesh.get_group(1).",
            _groups_cell(*_MESH, "return mesh.get_group(0)"),
            says="is with the ranks in the same place of the other lists",
            gives=_grouped(shared.COLUMNS, shared.ROWS),
        ),
        Mistake(
            "all-at-once",
            "new_group makes one group, of the ranks that it is given in one list. Call it once "
            "for each of the lists, in a loop.",
            _groups_cell("return dist.new_group(lists)"),
            seen=lambda seen: seen.raises("new_group takes"),
        ),
        Mistake(
            "by-rank",
            "There are as many groups as lists, not as many as ranks, so a rank's number is no "
            "place in them. Ask which list the rank is in: if rank in ranks.",
            _groups_cell(
                "groups = [dist.new_group(ranks) for ranks in lists]", "return groups[rank]"
            ),
            seen=lambda seen: seen.raises("list index out of range"),
        ),
        Mistake(
            "leaves-early",
            "A rank that returns from the loop as soon as it has its own group never makes the "
            "groups that come after it, and the others wait for it there. Finish the loop first.",
            _groups_cell(
                "for ranks in lists:",
                "    group = dist.new_group(ranks)",
                "    if rank in ranks:",
                "        return group",
            ),
            says="left its loop as soon as it had its own group",
            gives=_leaves_early,
        ),
        Mistake(
            "own-only",
            "Ranks called new_group for different groups at the same time, each for its own. Torch "
            "numbers groups by counting these calls, so different groups got the same number. "
            "Every rank calls new_group for every list, in the same order.",
            _groups_cell(
                "for ranks in lists:",
                "    if rank in ranks:",
                "        return dist.new_group(ranks)",
            ),
            says="made its own group while others made another one",
            gives=lambda here: _apart([shared.list_of(shared.ROWS, here.rank)]),
        ),
    ),
)
