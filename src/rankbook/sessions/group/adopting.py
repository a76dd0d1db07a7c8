"""Taking over the process group that joined engines are in already."""

from __future__ import annotations

from rankbook.errors import SessionError
from rankbook.models import GroupInfo
from rankbook.sessions.members import Members, found
from rankbook.words import agree, in_words, sentence_start

__all__ = ["adopt", "refuse_others_work"]


def adopt(members: Members, *, with_ended: bool = False) -> dict[int, GroupInfo]:
    """Make the engines of an existing group the ranks of this session, also while they are busy.

    Args:
        members: Of this session, which has no ranks yet.
        with_ended: Whether a group of which ranks have ended is one, too.

    Returns:
        By rank, its place in the group; empty if no group is whole.

    Raises:
        ClusterError: An engine does not say which group it is in, or where it stands.
    """
    group = found.find(seen := found.look(members))
    if group is None:
        found.refuse_silent(seen)
        group = found.find_with_ended(seen) if with_ended else None
    if group is None:
        return {}
    placement = found.placement(group, members.facts_of(group.living), members.alive)
    if placement is None:
        return {}
    members.seat(placement)
    return dict(enumerate(group.groups))


def refuse_others_work(members: Members) -> None:
    """Raise if joined engines are at work for a group that this session has not adopted.

    Raises:
        SessionError: The message says how to take the group over.
        ClusterError: An engine is silent, so it is not known whether it is at work.
    """
    if members.placement is not None or members.is_owned:
        return
    group = found.find(seen := found.look(members))
    if group is not None and group.busy:
        ranks, are = sentence_start(in_words(group.busy)), agree(group.busy, "is", "are")
        raise SessionError(
            f"{ranks} of the group that these engines are in {are} busy: join with "
            "--cluster-id alone to take the group over as it is; %dist_interrupt then "
            "ends what runs."
        )
    found.refuse_silent(seen)
