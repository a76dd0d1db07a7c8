"""New connections for process groups that are there, so that what holds them goes on.

A DDP or FSDP module, a device mesh, a DTensor, an optimizer hold ``ProcessGroup`` objects, or the
names of such. For torch those end with ``destroy_process_group``. Here they are noted before
(``account``), separated from what connects them (``connections``), and when the ranks have met
again and told each other what they hold (``words``), they get new connections under the names that
they had (``groups``). What a wrapper has begun and cannot end is forgotten (``wrappers``,
``reducers``, ``fsdp1``, ``fsdp2``). What cannot go on says so (``stale``, ``sharded``,
``samplers``), as does what a script has left with a group of its own (``scripts``), and where torch
raises because a group has ended, that is said in its place (``explaining``).
"""

from rankbook.distributed.healing.account import Account, note
from rankbook.distributed.healing.connections import is_possible, lacking, separate
from rankbook.distributed.healing.explaining import explain
from rankbook.distributed.healing.groups import Healed, heal, on_connected, settle
from rankbook.distributed.healing.meshes import clear_caches
from rankbook.distributed.healing.scripts import end
from rankbook.distributed.healing.steps import count as count_steps
from rankbook.distributed.healing.words import roster

__all__ = [
    "Account",
    "Healed",
    "clear_caches",
    "count_steps",
    "end",
    "explain",
    "heal",
    "is_possible",
    "lacking",
    "note",
    "on_connected",
    "roster",
    "separate",
    "settle",
]
