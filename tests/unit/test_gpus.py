from __future__ import annotations

import pytest

from rankbook.cluster import gpus


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Makes this machine one with a number of GPUs."""

    def install(count):
        for number in range(count):
            (tmp_path / f"0000:{number:02x}:00.0").mkdir()
        monkeypatch.setattr(gpus, "_DRIVER", tmp_path)

    return install


def test_without_a_driver_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path / "absent")
    assert gpus.visible_gpus(environ={}) == 0
    assert gpus.visible_gpus("0,1", environ={}) == 0
    assert gpus.visible_gpus(environ={"CUDA_VISIBLE_DEVICES": "0,1"}) == 0


@pytest.mark.parametrize(
    ("asked", "variable", "count"),
    [
        ("", None, 4),
        ("", "0,1", 2),
        ("", "2", 1),
        ("", "", 0),
        ("", "GPU-8932f937-d72c, GPU-1", 2),
        ("", "0,1,2,3,4,5", 4),
        ("0,1", None, 2),
        ("0,1,", None, 2),
        ("0", "0,1,2", 1),
        ("0,1,2", "0", 3),
    ],
)
def test_what_is_visible_is_counted(driver, asked, variable, count):
    driver(4)
    environ = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert gpus.visible_gpus(asked, environ) == count


@pytest.mark.parametrize(("variable", "count"), [("-1", 0), ("0,-1,1", 1), ("NoDevFiles", 0)])
def test_cuda_hides_what_follows_an_invalid_entry(driver, variable, count):
    """CUDA's rule: devices before the first invalid index are visible, the others are not."""
    driver(4)
    assert gpus.visible_gpus(environ={"CUDA_VISIBLE_DEVICES": variable}) == count


def test_the_environment_of_this_process_is_the_default(driver, monkeypatch):
    driver(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert gpus.visible_gpus() == 1
