"""Signals that a rank has blocked, as where a scheduler says that it is about to end the job."""

from __future__ import annotations

import pytest

SOON = 20.0


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGHUP", "SIGALRM"])
@pytest.mark.parametrize("generation", ["the first", "a new one"])
def test_a_signal_that_a_rank_has_blocked_waits_until_it_is_asked_for(two, name, generation):
    if generation == "a new one":
        two.reset()
    code = f"""
import os, signal
before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.{name}])
for _ in range(20):
    os.kill(os.getpid(), signal.{name})
    print(signal.sigwait([signal.{name}]).name)
signal.pthread_sigmask(signal.SIG_SETMASK, before)
"""
    result = two.run(code, timeout=SOON)
    assert [its.stdout for its in result.values()] == [f"{name}\n" * 20] * 2
