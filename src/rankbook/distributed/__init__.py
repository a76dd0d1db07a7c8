"""The seed API: joining and leaving a process group, with or without a notebook.

``torch_build`` refuses a torch without ``torch.distributed``, ``environment`` reads the launcher's
variables, ``stores`` opens stores, ``connecting`` connects to them, ``rendezvous`` brings the ranks
together, ``init_utils`` makes and destroys the process group.
"""

from rankbook.distributed import torch_build  # noqa: F401 - first: it refuses an unusable torch
from rankbook.distributed.init_utils import (
    DistInfo,
    destroy_global_state,
    get_local_rank_preinit,
    get_local_world_size_preinit,
    get_rank_safe,
    get_world_size_safe,
    initialize_distributed,
)

__all__ = [
    "DistInfo",
    "destroy_global_state",
    "get_local_rank_preinit",
    "get_local_world_size_preinit",
    "get_rank_safe",
    "get_world_size_safe",
    "initialize_distributed",
]
