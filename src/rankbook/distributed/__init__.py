"""The seed API: joining and leaving a process group, with or without a notebook.

``torch_build`` refuses a torch that cannot do it, ``environment`` reads what the launcher said,
``stores`` opens what ranks meet in, ``connecting`` connects to it, ``rendezvous`` brings the ranks
together, ``init_utils`` makes and destroys the process group.
"""

from rankbook.distributed import torch_build  # noqa: F401 - first: it says what a torch lacks
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
