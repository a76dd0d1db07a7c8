"""From the recording of every rank to one timeline of all of them.

Pure: it knows neither torch nor engines, only the ``Recorded`` of every rank.
"""

from __future__ import annotations

from rankbook.timeline.align import Alignment
from rankbook.timeline.bars import FIELDS, Bar, Names, as_array, from_array
from rankbook.timeline.clocks import Clock, measure
from rankbook.timeline.kept import Kept

__all__ = [
    "FIELDS",
    "Alignment",
    "Bar",
    "Clock",
    "Kept",
    "Names",
    "as_array",
    "from_array",
    "measure",
]
