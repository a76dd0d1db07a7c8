"""The verdict: of what kind the trouble is, and whose.

torch brings an analyser of its own (``torch.distributed.flight_recorder.components``), which is not
used: on gloo's dumps it raises KeyError because their ``pg_config`` has no names; it knows neither
send and recv nor monitored_barrier; its ``pass_check`` cannot be trusted; it wants full dumps with
stack traces of every rank; and importing it would load torch into the notebook's process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from rankbook.diagnosis import hints, makings, sentences
from rankbook.diagnosis.calls import family, group, is_handle, is_p2p, is_vague, slot
from rankbook.diagnosis.causes import with_causes
from rankbook.diagnosis.clashes import clash, fatal, mismatch
from rankbook.diagnosis.sentences import Case
from rankbook.diagnosis.waits import Wait, calls_at, knots, stuck_ranks, survey
from rankbook.diagnosis.wording import Words
from rankbook.models import Collective, Diagnosis, Look
from rankbook.models.meshes import NamedMesh

__all__ = ["diagnose"]

_STILL = 0.4
"""Seconds of standing still after which looks at different moments can be taken together."""

_STILL_BESIDE_DEAD = 0.1
"""The same where a rank that is needed has ended: it will not come, but most ranks notice that
by themselves in this time."""

_QUIET = 1.0
"""Seconds in which no data comes or goes and no thread of the process computes, where a rank may
wait for an ``isend`` or ``irecv`` that nobody recorded: what it waits for may be on its way."""

_CERTAIN_WHEN_PROVEN = {"missing_rank", "mismatch", "raised"}

_KNOWN = {"idle", "running", "waiting", "stopped", "gone"}


@dataclass(frozen=True)
class _Scene:
    looks: Mapping[int, Look]
    waits: Mapping[int, Wait]
    stuck: tuple[int, ...]
    past: bool
    mesh: NamedMesh | None

    @property
    def words(self) -> Words:
        return Words(self.looks, past=self.past, mesh=self.mesh)

    def is_proven(self, rank: int) -> bool:
        """Whether a stuck rank is certain to stay so."""
        look, wait = self.looks[rank], self.waits[rank]
        if look.may_end:
            return False
        if wait.call.entries and any(look.threads for look in self.looks.values()):
            return False  # any of them may set the key
        if not wait.any_of and any(self.looks[other].state == "gone" for other in wait.needs):
            return look.still >= _STILL_BESIDE_DEAD
        # What a thread waits for may be on its way, and what its main thread waits for as well.
        is_recorded = not (is_p2p(wait.call) or is_vague(wait.call) or look.in_thread)
        at_rest = look.quiet >= _QUIET and (look.silent is None or look.silent >= _QUIET)
        return max(look.still, look.in_wait) >= _STILL and (is_recorded or at_rest)

    def ranks(self, state: str) -> tuple[int, ...]:
        """Ranks in a state, ascending."""
        return tuple(rank for rank, look in sorted(self.looks.items()) if look.state == state)

    def case(self, waiters: Iterable[int], suspects: Collection[int]) -> Case | None:
        """The call of ``waiters`` in which a suspect is missing; of the lowest, if of several."""
        by_call: dict[object, list[int]] = {}
        for rank in waiters:
            if self.waits[rank].needs & set(suspects):
                by_call.setdefault(_identity(self.waits[rank].call), []).append(rank)
        cases = []
        for ranks in by_call.values():
            needed = frozenset[int]().union(*(self.waits[rank].needs for rank in ranks))
            behind = frozenset[int]().union(*(self.waits[rank].behind for rank in ranks))
            culprits = tuple(sorted((behind & set(suspects)) or (needed & set(suspects))))
            cases.append(Case(culprits, tuple(ranks), self.waits[ranks[0]].call))
        return min(cases, key=lambda case: (case.culprits[0], case.waiters), default=None)


@dataclass(frozen=True)
class _Finding:
    kind: str
    culprits: tuple[int, ...]
    sentence: str
    hint: str = ""


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
    scene = _Scene(looks, waits, stuck_ranks(looks, waits), past, mesh)
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


def _identity(call: Collective) -> object:
    """The same for calls that one sentence can speak of."""
    return slot(call) or (group(call), family(call.op), call.peer if is_p2p(call) else None)


def _dead(scene: _Scene) -> _Finding | None:
    gone = scene.ranks("gone")
    if not gone:
        return None
    sentence = sentences.dead(scene.words, gone, scene.case(scene.waits, gone))
    if found := fatal(scene.looks, gone):
        message = f"{mismatch(scene.words, found)} {sentence}"
        return _Finding("mismatch", found.culprits, message, hints.mismatch(found))
    return _Finding("dead", gone, sentence)


def _raised_first(scene: _Scene) -> _Finding | None:
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
    return _Finding("raised", culprits, message, hints.raised(calls[rank] for rank in culprits))


def _mismatch(scene: _Scene) -> _Finding | None:
    waits = scene.waits
    for rank in scene.stuck:
        if apart := makings.misfit(scene.looks, rank, waits[rank].call):
            told = makings.sentence(scene.words, apart)
            return _Finding("mismatch", apart.culprits, told, makings.HINT)
    places = {slot(waits[rank].call) for rank in scene.stuck if waits[rank].clashes}
    found = [clash(calls_at(scene.looks, place)) for place in places if place]
    for knot in knots(waits, scene.stuck):
        found += [clash({rank: waits[rank].call for rank in knot})]
    if not found:
        return None
    worst = min(found, key=lambda each: (each.culprits[0], sorted(each.calls)))
    message = mismatch(scene.words, worst)
    return _Finding("mismatch", worst.culprits, message, hints.mismatch(worst))


def _left_out(scene: _Scene) -> _Finding | None:
    """Ranks that wait for more than others have sent."""
    waits = scene.waits
    first = next((rank for rank in scene.stuck if waits[rank].left_out), None)
    if first is None:
        return None
    call = waits[first].call
    place = slot(call)
    ranks = [r for r in scene.stuck if waits[r].left_out and slot(waits[r].call) == place]
    members = call.ranks or tuple(sorted(scene.looks))
    message = sentences.left_out(scene.words, ranks, members, call)
    return _Finding("mismatch", tuple(sorted(members)), message, hints.LEFT_OUT)


def _raised(scene: _Scene) -> _Finding | None:
    suspects = [rank for rank in scene.ranks("idle") if scene.looks[rank].raised]
    case = scene.case(scene.stuck, suspects)
    if case is None:
        return None
    return _Finding("raised", case.culprits, sentences.raised(scene.words, case))


def _missing_rank(scene: _Scene) -> _Finding | None:
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
    return _Finding("missing_rank", case.culprits, message, hints.missing(scene.words, case))


def _stopped(scene: _Scene) -> _Finding | None:
    case = scene.case(scene.waits, scene.ranks("stopped"))
    if case is None:
        return None
    return _Finding("slow", case.culprits, sentences.stopped(scene.words, case))


def _slow(scene: _Scene) -> _Finding | None:
    case = scene.case(scene.waits, scene.ranks("running"))
    if case is None:
        return None
    return _Finding("slow", case.culprits, sentences.slow(scene.words, case), hints.SLOW)


def _unknown(scene: _Scene) -> _Finding | None:
    silent = tuple(r for r, look in sorted(scene.looks.items()) if look.state not in _KNOWN)
    if silent:
        case = scene.case(scene.waits, silent)
        culprits = case.culprits if case else silent
        return _Finding("unknown", culprits, sentences.silent(scene.words, culprits, case))
    if scene.stuck:
        message = sentences.unclear(scene.words, scene.waits, scene.stuck)
        return _Finding("unknown", (), message)
    return None


def _healthy(scene: _Scene) -> _Finding:
    if len(scene.ranks("idle")) == len(scene.looks):
        return _Finding("idle", (), "Every rank is idle.")
    message = sentences.running(scene.words, scene.waits, scene.ranks("running"))
    return _Finding("running", (), message)


_WORST_FIRST: tuple[Callable[[_Scene], _Finding | None], ...] = (
    _dead,
    _raised_first,
    _mismatch,
    _left_out,
    _raised,
    _missing_rank,
    _stopped,
    _slow,
    _unknown,
    _healthy,
)
