"""Naming the dimensions of the ranks by a device mesh that they hold."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from math import prod

from rankbook.errors import InputError
from rankbook.models import load
from rankbook.models.meshes import GetMesh, HeldMesh, NamedMesh
from rankbook.sessions.members.party import Party
from rankbook.words import agree, in_words, plural, ranks_do, sentence_start

__all__ = ["check", "code", "held", "is_there", "named", "refuse_taken", "shown"]


def check(dims: Mapping[str, object], world_size: int) -> dict[str, int]:
    """Read the dimensions of a mesh; one size may be -1, inferred from the others.

    Raises:
        InputError: They do not fit the number of ranks, or a name or size is invalid.
    """
    sizes: dict[str, int] = {}
    for name, size in dims.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            raise InputError(f"{name!r} cannot name a dimension: use a name like dp.")
        if not isinstance(size, int) or isinstance(size, bool) or (size < 1 and size != -1):
            raise InputError(f"{name}={size} is not a number of ranks: use {name}=2, for example.")
        sizes[name] = size
    open_ = [name for name, size in sizes.items() if size == -1]
    if len(open_) > 1:
        raise InputError(f"{' and '.join(open_)} are both -1: only one size can be left open.")
    known = prod(size for size in sizes.values() if size != -1)
    if open_ and world_size % known == 0:
        sizes[open_[0]] = world_size // known
    if prod(sizes.values()) != world_size:
        makes = "cannot be filled" if open_ else f"makes {plural(known, 'rank')}"
        raise InputError(
            f"{shown(dims)} {makes}, and the group has {plural(world_size, 'rank')}: "
            f"choose sizes whose product is {world_size}."
        )
    return sizes


def shown(dims: Mapping[str, object]) -> str:
    """Dimensions as they are typed: ``dp=2 tp=2``."""
    return " ".join(f"{name}={size}" for name, size in dims.items())


def code(name: str, dims: Mapping[str, int], device: str) -> str:
    """The line that makes the mesh on a rank, whatever the user has called ``torch``."""
    sizes, names = tuple(dims.values()), tuple(dims)
    make = '__import__("torch").distributed.init_device_mesh'
    return f"{name} = {make}({device!r}, {sizes}, mesh_dim_names={names})"


def held(party: Party, name: str) -> dict[int, HeldMesh]:
    """By rank, what it holds under a name, described.

    Raises:
        RankbookError: Some rank does not answer.
    """
    answers = party.ask(GetMesh(name), party.timing.reply)
    return {rank: load(HeldMesh, answer) for rank, answer in answers.items()}


def is_there(by_rank: Mapping[int, HeldMesh], sizes: Mapping[str, int]) -> bool:
    """Whether all ranks already hold a working mesh of all ranks with these sizes."""
    return len(set(by_rank.values())) == 1 and all(
        (one.dims, one.sizes) == (tuple(sizes), tuple(sizes.values())) and not one.has_ended
        for one in by_rank.values()
    )


def refuse_taken(by_rank: Mapping[int, HeldMesh], name: str, present: NamedMesh | None) -> None:
    """Refuse to overwrite anything but the session's mesh or one whose groups have ended.

    Args:
        by_rank: What each rank holds under the name.
        name: The variable's name.
        present: The mesh that was named last.

    Raises:
        InputError: It says what is there.
    """
    for one in by_rank.values():
        is_ours = (
            present is not None
            and present.name == name
            and (one.dims, one.sizes, one.ranks) == (present.dims, present.sizes, present.ranks)
        )
        if one.kind and not is_ours and not one.has_ended:
            owners = [rank for rank, other in by_rank.items() if other.kind == one.kind]
            who = sentence_start(ranks_do(owners, "has", "have"))
            use = f"%dist_mesh --name {name} uses it, " if one.dims else ""
            raise InputError(
                f"{who} a variable {name!r} already, of class {one.kind}: {use}"
                f"--name {name}2 makes another."
            )


def named(by_rank: Mapping[int, HeldMesh], name: str, world_size: int) -> NamedMesh:
    """The mesh that all ranks hold under a name.

    Raises:
        InputError: They hold no such mesh, or it cannot name each rank's place.
    """
    meshes: Sequence[HeldMesh] = list(by_rank.values())
    first = meshes[0]
    without = [rank for rank, one in by_rank.items() if not one.sizes]
    if without:
        verb = agree(without, "holds", "hold")
        raise InputError(
            f"{sentence_start(in_words(without))} {verb} no device mesh {name!r}: "
            "%dist_mesh dp=2 tp=2 makes one, with sizes of yours."
        )
    if not all(one == first for one in meshes):
        raise InputError(f"{name!r} is not the same mesh on all ranks: %dist_show {name} shows it.")
    if not first.dims:
        raise InputError(f"The dimensions of {name!r} have no names: give it mesh_dim_names.")
    if sorted(first.ranks) != list(range(world_size)):
        raise InputError(
            f"{name!r} has {plural(len(first.ranks), 'rank')} of {world_size}: only a mesh of all "
            "ranks names their places."
        )
    return NamedMesh(first.dims, first.sizes, first.ranks, name)
