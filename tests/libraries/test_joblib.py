"""Joblib's workers end with the script that has started them."""

from __future__ import annotations

import pytest

pytest.importorskip("joblib")

SCRIPT = """
from joblib import Parallel, delayed

def square(x):
    return x * x

if __name__ == "__main__":
    print(Parallel(n_jobs=2)(delayed(square)(x) for x in range(4)))
"""


def test_a_script_with_workers_of_joblib_ends_whenever_it_is_run(session, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    for _ in range(2):
        result = session.run_script(script, timeout=100)
        result.raise_for_error()
        assert {its.stdout for its in result.values()} == {"[0, 1, 4, 9]\n"}
