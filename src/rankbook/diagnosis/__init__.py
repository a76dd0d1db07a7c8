"""From what every rank does to a verdict: pure functions, no torch.

``calls`` says when calls on several ranks are one collective; ``waits`` who waits for whom, and who
is stuck; ``verdict`` of what kind that is, and whose doing. ``hints`` says what it often is;
``rows`` sums up what each rank does. ``clashes`` judges calls that keep each other from
completing, ``makings`` groups that ranks make differently. ``sentences`` puts the verdict in words,
and ``wording`` what a rank does.
``comparing`` judges calls that were refused, or that did not even hang.
"""

from rankbook.diagnosis.comparing import differing, left_behind
from rankbook.diagnosis.makings import unlike
from rankbook.diagnosis.rows import Row, rows
from rankbook.diagnosis.verdict import diagnose

__all__ = ["Row", "diagnose", "differing", "left_behind", "rows", "unlike"]
