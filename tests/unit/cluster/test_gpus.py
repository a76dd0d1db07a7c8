from __future__ import annotations

import functools
import sys
import types

import pytest

from rankbook import driver as nvidia
from rankbook.cluster import gpus
from rankbook.errors import DeviceError, InputError


@pytest.fixture
def visible(tmp_path):
    """Counts the GPUs of a machine without a driver, unless a test installs one."""
    return functools.partial(gpus.visible_gpus, root=tmp_path)


@pytest.fixture
def driver(tmp_path):
    """Makes that machine one with a number of GPUs."""

    def install(count):
        for number in range(count):
            (tmp_path / f"proc/driver/nvidia/gpus/0000:{number:02x}:00.0").mkdir(parents=True)

    return install


@pytest.fixture
def hidden(tmp_path, monkeypatch):
    """Makes that machine one whose driver hides its list of GPUs, as a sandbox may."""

    def install(nvml):
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev/nvidiactl").touch()
        monkeypatch.setitem(sys.modules, "pynvml", nvml)

    nvidia.count_by_nvml.cache_clear()
    yield install
    nvidia.count_by_nvml.cache_clear()


class Nvml(types.ModuleType):
    """``pynvml`` as far as we use it."""

    def __init__(self, count):
        super().__init__("pynvml")
        self.count, self.open = count, 0

    def nvmlInit(self):  # noqa: N802 - NVIDIA's names
        self.open += 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        if self.count is None:
            raise RuntimeError("driver not loaded")
        return self.count

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1


def test_nvml_counts_gpus_where_the_driver_hides_its_list(visible, hidden):
    nvml = Nvml(3)
    hidden(nvml)
    assert visible(environ={}) == 3
    assert visible(environ={"CUDA_VISIBLE_DEVICES": "1"}) == 1
    assert nvml.open == 0


def test_no_gpu_is_visible_where_nvml_fails(visible, hidden):
    nvml = Nvml(None)
    hidden(nvml)
    assert visible(environ={}) == 0
    assert nvml.open == 0


def test_no_gpu_is_visible_without_pynvml(visible, hidden):
    hidden(None)  # this is how Python says that a module cannot be imported
    assert visible(environ={}) == 0


def test_a_container_has_only_the_gpus_of_its_device_files(visible, driver, hidden, tmp_path):
    """The list under /proc may be the host's, with all of its GPUs."""
    driver(8)
    hidden(Nvml(2))
    for name in ("nvidia3", "nvidia6", "nvidia-uvm", "nvidia-modeset"):
        (tmp_path / "dev" / name).touch()
    assert visible(environ={}) == 2
    assert visible("0,1,2", environ={}) == 2


def test_gpus_without_device_files_are_believed_to_nvml(visible, driver, hidden, tmp_path):
    """The files of a GPU may be made only when it is first used."""
    driver(4)
    hidden(Nvml(4))
    (tmp_path / "dev/nvidia0").touch()
    assert visible(environ={}) == 4


def test_device_files_are_counted_where_nvml_fails(visible, driver, hidden, tmp_path):
    driver(4)
    hidden(Nvml(None))
    (tmp_path / "dev/nvidia2").touch()
    assert visible(environ={}) == 1


def test_the_list_of_the_driver_is_enough_where_it_has_made_no_devices_yet(visible, driver):
    driver(4)
    assert visible(environ={}) == 4


def test_no_gpu_is_visible_without_a_driver(visible):
    assert visible(environ={}) == 0
    assert visible("0,1", environ={}) == 0
    assert visible(environ={"CUDA_VISIBLE_DEVICES": "0,1"}) == 0


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
        ("0,7,1", None, 1),
        ("", "1,1", 0),
        ("", "GPU-1,GPU-1", 0),
        ("", "MIG-GPU-8932f937/1/0", 1),
    ],
)
def test_visible_gpus_are_counted(visible, driver, asked, variable, count):
    driver(4)
    environ = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert visible(asked, environ) == count


@pytest.mark.parametrize(("variable", "count"), [("-1", 0), ("0,-1,1", 1), ("NoDevFiles", 0)])
def test_gpus_after_an_invalid_entry_are_hidden(visible, driver, variable, count):
    """CUDA's rule: devices before the first invalid index are visible, the others are not."""
    driver(4)
    assert visible(environ={"CUDA_VISIBLE_DEVICES": variable}) == count


def test_the_environment_of_this_process_narrows_the_gpus_by_default(visible, driver, monkeypatch):
    driver(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible() == 1


@pytest.mark.parametrize(
    "asked", ["", "0", "3,0", "0,1,", " 0 , 1 ", "GPU-8932f937", "MIG-1,MIG-2"]
)
def test_gpus_that_are_there_may_be_asked_for(tmp_path, driver, asked):
    driver(4)
    gpus.check_asked(asked, tmp_path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("0-3", "'0-3' is not a GPU: --gpus takes numbers, 0,1, or names"),
        ("cuda:0", "'cuda:0' is not a GPU"),
        ("-1", "'-1' is not a GPU"),
        (",", "'' is not a GPU"),
        ("0,,1", "'' is not a GPU"),
        ("two", "'two' is not a GPU"),
        ("0,1,0", "GPU 0 is named twice in --gpus 0,1,0: name each once."),
        ("0,4", "This machine has no GPU 4: it has numbers 0 to 3."),
    ],
)
def test_gpus_that_cuda_would_pass_over_in_silence_are_refused(tmp_path, driver, asked, said):
    driver(4)
    with pytest.raises(InputError) as caught:
        gpus.check_asked(asked, tmp_path)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_asking_for_a_gpu_of_a_machine_without_any_is_refused(tmp_path, driver):
    with pytest.raises(DeviceError, match="shows no GPU, so there is no 1: leave --gpus out"):
        gpus.check_asked("1", tmp_path)
    driver(1)
    with pytest.raises(DeviceError, match="no GPU 1: it has only GPU 0"):
        gpus.check_asked("1", tmp_path)
    gpus.check_asked("0", tmp_path)
