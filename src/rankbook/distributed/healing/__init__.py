"""New connections for existing process groups, so that objects that hold them go on.

DDP and FSDP modules, device meshes, DTensors and optimizers hold ``ProcessGroup`` objects, or their
names. For torch these end with ``destroy_process_group``. Here they are recorded before
(``account``) and separated from their connections (``connections``). When the ranks have met again
and told each other what they hold (``words``), the groups get new connections under their old names
(``groups``). A step that a wrapper began and cannot end is dropped (``wrappers``, ``standings``,
``reducers``, ``buckets``, ``counting``, ``joins``, ``fsdp1``, ``fsdp2``, ``accumulated``,
``pipelines``, ``scalers``). Objects that cannot go on say so (``stale``, ``sharded``, ``saving``,
``samplers``), as do objects that a script left with its own group (``scripts``). Where torch raises
because a group has ended, ``explaining`` says that instead.
"""

from rankbook.distributed.healing.account import Account, note
from rankbook.distributed.healing.connections import is_possible, lacking, separate
from rankbook.distributed.healing.explaining import explain
from rankbook.distributed.healing.groups import Healed, heal, on_connected, settle, wait_for_others
from rankbook.distributed.healing.meshes import clear_caches
from rankbook.distributed.healing.scripts import end
from rankbook.distributed.healing.steps import begin_cell
from rankbook.distributed.healing.steps import count as count_steps
from rankbook.distributed.healing.unfinished import unfinished
from rankbook.distributed.healing.words import roster

__all__ = [
    "Account",
    "Healed",
    "begin_cell",
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
    "unfinished",
    "wait_for_others",
]
