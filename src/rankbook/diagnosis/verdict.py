"""The verdict: of what kind the trouble is, and whose.

torch brings an analyser of its own (``torch.distributed.flight_recorder.components``), which is not
used: on gloo's dumps it raises KeyError because their ``pg_config`` has no names; it knows neither
send and recv nor monitored_barrier; its ``pass_check`` cannot be trusted; it wants full dumps with
stack traces of every rank; and importing it would load torch into the notebook's process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rankbook.diagnosis import hints, makings, meetings, meshes, sentences
from rankbook.diagnosis.calls import is_handle, slot
from rankbook.diagnosis.causes import with_causes
from rankbook.diagnosis.clashes import clash, fatal, mismatch
from rankbook.diagnosis.makings import destroyed_at
from rankbook.diagnosis.scene import Finding, Scene, identity
from rankbook.diagnosis.sentences import Case
from rankbook.diagnosis.waits import calls_at, knots, stuck_ranks, survey
from rankbook.models import Diagnosis, Look
from rankbook.models.meshes import NamedMesh

__all__ = ["diagnose"]

_CERTAIN_WHEN_PROVEN = {"missing_rank", "mismatch", "raised"}

_KNOWN = {"idle", "running", "waiting", "stopped", "gone"}


def diagnose(
    looks: Mapping[int, Look], *, past: bool = False, mesh: NamedMesh | None = None
) -> Diagnosis:
    """Say what the ranks of a session do or wait for, and why.

    Args:
        looks: What each rank of the world's group does, all of them, seen at about one time.
        past: Say it in the past tense: the ranks were freed.
        mesh: By whose dimensions ranks are named, too.

    Returns:
        The verdict about the worst that is found; of several alike, about the lowest rank.
    """
    looks = with_causes(looks)
    waits = survey(looks)
    scene = Scene(looks, waits, stuck_ranks(looks, waits), past, mesh)
    found = next(finding for judge in _WORST_FIRST if (finding := judge(scene)) is not None)
    proven = bool(scene.stuck) and all(scene.is_proven(rank) for rank in scene.stuck)
    hint = found.hint
    if scene.stuck and not proven and found.kind in _CERTAIN_WHEN_PROVEN:
        hint = f"{hint} {hints.unproven(scene.words, scene.stuck)}".strip()
    return Diagnosis(
        found.kind,
        found.culprits,
        found.sentence,
        {rank: scene.words.does(rank) for rank in sorted(looks)},
        scene.stuck,
        proven,
        hint,
        mesh,
    )


def _dead(scene: Scene) -> Finding | None:
    gone = scene.ranks("gone")
    if not gone:
        return None
    sentence = sentences.dead(scene.words, gone, scene.case(scene.waits, gone))
    if found := fatal(scene.looks, gone):
        message = f"{mismatch(scene.words, found)} {sentence}"
        return Finding("mismatch", found.culprits, message, hints.mismatch(found))
    return Finding("dead", gone, sentence)


def _raised_first(scene: Scene) -> Finding | None:
    """An exception that has not ended a cell, because the rank waits in a ``finally`` or the like.

    Where all that wait have raised the same, that does not set them apart.
    """
    looks = scene.looks
    culprits = tuple(rank for rank in scene.stuck if looks[rank].handles)
    kinds = {looks[rank].handles.partition(":")[0] for rank in scene.stuck}
    others = [rank for rank in looks if rank not in culprits]
    if not culprits or (len(kinds) == 1 and len(culprits) == len(scene.stuck) and not others):
        return None
    calls = {rank: scene.waits[rank].call for rank in scene.stuck}
    message = sentences.raised_first(scene.words, culprits, calls)
    return Finding("raised", culprits, message, hints.raised(calls[rank] for rank in culprits))


def _mismatch(scene: Scene) -> Finding | None:
    waits = scene.waits
    mesh = meshes.unlike(scene.looks)
    of_mesh = meshes.sentence(scene.words, mesh) if mesh else ""
    if mesh and meshes.holds_up(mesh, scene.looks, scene.stuck):
        return Finding("mismatch", mesh.culprits, of_mesh, meshes.HINT)
    for rank in scene.stuck:
        if apart := makings.misfit(scene.looks, rank, waits[rank].call, scene.stuck):
            told = makings.sentence(scene.words, apart)
            return Finding("mismatch", apart.culprits, told, makings.hint(apart))
    places = {slot(waits[rank].call) for rank in scene.stuck if waits[rank].clashes}
    found = [clash(calls_at(scene.looks, place)) for place in places if place]
    for knot in knots(waits, scene.stuck):
        found += [clash({rank: waits[rank].call for rank in knot})]
    if not found:
        return None
    worst = min(found, key=lambda each: (each.culprits[0], sorted(each.calls)))
    message = mismatch(scene.words, worst)
    # The world itself serves as the group of a mesh's dimension that has all ranks.
    hint = f"{of_mesh} {meshes.HINT}" if mesh else hints.mismatch(worst)
    return Finding("mismatch", worst.culprits, message, hint)


def _left_out(scene: Scene) -> Finding | None:
    """Ranks that wait for more than others have sent, or for a group that these have."""
    waits = scene.waits
    first = next((rank for rank in scene.stuck if waits[rank].left_out), None)
    if first is None:
        return None
    call = waits[first].call
    same = identity(call)
    ranks = tuple(r for r in scene.stuck if waits[r].left_out and identity(waits[r].call) == same)
    members = call.ranks or tuple(sorted(scene.looks))
    message = sentences.left_out(scene.words, ranks, members, call)
    if call.makes:
        return Finding("mismatch", ranks, message, makings.HALF_MADE)
    return Finding("mismatch", tuple(sorted(members)), message, hints.LEFT_OUT)


def _raised(scene: Scene) -> Finding | None:
    suspects = [rank for rank in scene.ranks("idle") if scene.looks[rank].raised]
    case = scene.case(scene.stuck, suspects)
    if case is None:
        return None
    return Finding("raised", case.culprits, sentences.raised(scene.words, case))


def _strangers(scene: Scene) -> Finding | None:
    """Ranks that make a group with processes that are no ranks of the session."""
    waits = scene.waits
    first = next((rank for rank in scene.stuck if waits[rank].strangers), None)
    if first is None:
        return None
    case = Case(
        tuple(sorted(waits[first].strangers)),
        tuple(rank for rank in scene.stuck if waits[rank].strangers == waits[first].strangers),
        waits[first].call,
    )
    message = sentences.strangers(scene.words, case)
    return Finding("mismatch", case.waiters, message, hints.strangers(len(scene.looks)))


def _never_set(scene: Scene) -> Finding | None:
    """Ranks that all wait for keys, which none of them sets."""
    waits = scene.waits
    if not scene.stuck or not all(waits[rank].call.entries for rank in scene.stuck):
        return None
    return Finding(
        "mismatch", scene.stuck, sentences.never_set(scene.words, waits, scene.stuck), hints.KEY
    )


def _apart(scene: Scene) -> Finding | None:
    """Ranks that have come to different meetings, so that they never have a group, or a store."""
    found = meetings.apart(scene.looks, scene.stuck)
    if found is None:
        return None
    message = meetings.sentence(scene.words, found)
    return Finding("missing_rank", found.culprits, message, meetings.hint(found))


def _unanswered(scene: Scene) -> Finding | None:
    """Ranks that have all come to where they meet, and do not meet there."""
    waits = scene.waits
    first = next((rank for rank in scene.stuck if waits[rank].unanswered), None)
    if first is None:
        return None
    ranks = tuple(sorted(waits[first].unanswered))
    message, hint = meetings.who_is_unanswered(scene.words, ranks, waits[first].call)
    return Finding("missing_rank", ranks, message, hint)


def _destroyed(scene: Scene) -> Finding | None:
    """Ranks that wait in a group which another one has destroyed, if not where scripts end."""
    waits = scene.waits
    first = next((rank for rank in scene.stuck if waits[rank].destroyed_by), None)
    if first is None or all(_is_over(scene.looks[rank]) for rank in waits[first].destroyed_by):
        return None
    call, culprits = waits[first].call, tuple(sorted(waits[first].destroyed_by))
    waiters = tuple(r for r in scene.stuck if identity(waits[r].call) == identity(call))
    place = destroyed_at(scene.looks[culprits[0]], scene.looks[first], call)
    message = sentences.destroyed(scene.words, Case(culprits, waiters, call), place)
    return Finding("missing_rank", culprits, message, hints.DESTROYED)


def _is_over(look: Look) -> bool:
    """Whether the script of a rank has ended: many destroy the group in their last line."""
    return look.is_script and look.state == "idle"


def _missing_rank(scene: Scene) -> Finding | None:
    # Whom a handle waits for is only known where there is but one; others may be idle with reason.
    waiters = [
        rank
        for rank in scene.stuck
        if not is_handle(scene.waits[rank].call) or len(scene.waits[rank].needs) == 1
    ]
    case = scene.case(waiters, scene.ranks("idle"))
    if case is None:
        return None
    message = sentences.missing(scene.words, case)
    return Finding("missing_rank", case.culprits, message, hints.missing(scene.words, case))


def _stopped(scene: Scene) -> Finding | None:
    case = scene.case(scene.waits, scene.ranks("stopped"))
    if case is None:
        return None
    return Finding("slow", case.culprits, sentences.stopped(scene.words, case))


def _slow(scene: Scene) -> Finding | None:
    case = scene.case(scene.waits, scene.ranks("running"))
    if case is None:
        return None
    return Finding(
        "slow", case.culprits, sentences.slow(scene.words, case), hints.slow(scene.words, case)
    )


def _unknown(scene: Scene) -> Finding | None:
    silent = tuple(r for r, look in sorted(scene.looks.items()) if look.state not in _KNOWN)
    if silent:
        case = scene.case(scene.waits, silent)
        culprits = case.culprits if case else silent
        return Finding("unknown", culprits, sentences.silent(scene.words, culprits, case))
    if scene.stuck:
        message = sentences.unclear(scene.words, scene.waits, scene.stuck)
        return Finding("unknown", (), message)
    return None


def _healthy(scene: Scene) -> Finding:
    if len(scene.ranks("idle")) == len(scene.looks):
        return Finding("idle", (), "Every rank is idle.")
    message = sentences.running(scene.words, scene.waits, scene.ranks("running"))
    return Finding("running", (), message)


_WORST_FIRST: tuple[Callable[[Scene], Finding | None], ...] = (
    _dead,
    _raised_first,
    _apart,
    _unanswered,
    _mismatch,
    _left_out,
    _raised,
    _strangers,
    _destroyed,
    _missing_rank,
    _never_set,
    _stopped,
    _slow,
    _unknown,
    _healthy,
)
