"""Why a run of mpiexec's failed: one sentence out of what it writes."""

from __future__ import annotations

import pytest

from rankbook.cluster.launchers.mpi import cause

DASHES = "-" * 74


@pytest.mark.parametrize(
    ("errors", "sentence"),
    [
        (
            [
                DASHES,
                "There are not enough slots available in the system to satisfy the 4",
                "slots that were requested by the application:",
                "/usr/bin/python",
                "Either request fewer slots for your application, or make more slots",
            ],
            (
                "There are not enough slots available in the system to satisfy the 4 slots that "
                "were requested by the application"
            ),
        ),
        (
            ["ssh: connect to host beta port 22: No route to host", DASHES, "ORTE was unable"],
            "ssh: connect to host beta port 22: No route to host",
        ),
        (
            ["Traceback (most recent call last):", 'File "x.py", line 1', "ValueError: no."],
            "ValueError: no",
        ),
        (
            ["/usr/bin/python: Error while finding module (No module named 'rankbook')"],
            "the Python there has no rankbook: run `pip install rankbook` with it",
        ),
        (
            ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'zmq.x'"],
            "the Python there has no zmq: run `pip install rankbook` with it",
        ),
        ([], "it gave no reason"),
    ],
)
def test_the_first_cause_is_said(errors, sentence):
    assert cause(errors) == sentence
