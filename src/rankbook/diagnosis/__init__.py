"""From what every rank does to a verdict: pure functions, no torch.

``calls`` says when calls on several ranks are one collective; ``waits`` who waits for whom, and who
is stuck; ``verdict`` of what kind that is, and whose doing. ``clashes`` judges calls that keep each
other from completing. ``sentences`` puts the verdict in words, and ``wording`` what a rank does.
``comparing`` judges calls
that did not even hang. ``checked`` reads what torch says where it compares collectives itself.
"""

from rankbook.diagnosis.checked import fingerprint, refused
from rankbook.diagnosis.comparing import differing
from rankbook.diagnosis.verdict import diagnose

__all__ = ["diagnose", "differing", "fingerprint", "refused"]
