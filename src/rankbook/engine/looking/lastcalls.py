"""The file of this engine's last calls."""

from __future__ import annotations

import atexit
import logging
import os

from rankbook import lastcalls
from rankbook.calls import Ledger

__all__ = ["ledger"]

_log = logging.getLogger(__name__)


def ledger() -> Ledger:
    """An account of this process, which outlives it in a file where one can be made."""
    try:
        kept = Ledger(file=lastcalls.new_file(os.environ.get("IPP_CLUSTER_ID", "")))
    except OSError as error:
        _log.warning("The last calls of this rank will not be known after it ends: %s", error)
        return Ledger()
    assert kept.box is not None  # noqa: S101 - there is a file
    # The last calls of an engine that ends normally are not needed.
    atexit.register(kept.box.close)
    return kept
