"""Refuses a torch that was built without ``torch.distributed``.

Raises:
    ImportError: This torch was.
"""

from __future__ import annotations

import torch
import torch.distributed as dist

__all__: list[str] = []

if not dist.is_available():
    raise ImportError(
        f"torch {torch.__version__} was built without torch.distributed: install a build that has "
        "it, as those on PyPI for Linux do"
    )
