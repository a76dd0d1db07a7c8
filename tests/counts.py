"""How often tests repeat what must hold many times: a sample, or with ``make counts`` all of it."""

from __future__ import annotations

import os

__all__ = ["CELLS", "POOLS", "ROUNDS", "SCRIPTS"]

IS_ALL = bool(os.environ.get("RANKBOOK_COUNTS"))

POOLS = 200 if IS_ALL else 12
"""Pools that each rank makes and ends, one after the other."""

SCRIPTS = 30 if IS_ALL else 8
"""Scripts in a row of which nothing may be left."""

CELLS = 200 if IS_ALL else 20
"""Cells that write past Python at their end."""

ROUNDS = range(50 if IS_ALL else 1)
"""Ends of ranks after which nothing may be left that they have started."""
