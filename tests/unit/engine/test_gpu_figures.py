"""What NVML says of a rank's GPU, from a driver that stands here instead of a real one."""

# ruff: noqa: N802 - the stand-in has NVIDIA's names

from __future__ import annotations

import sys
import threading
import types

import pytest
from processes import wait_until
from steps import SOON

from rankbook.engine.host import gpu
from rankbook.models import Gpu, GroupInfo

GB = 1 << 30


class NVMLError(Exception):
    pass


class Card:
    """A GPU, or a slice of one."""

    def __init__(self, number, name="A100", **facts):
        self.uuid = f"GPU-{number}{number}{number}-aaaa"
        self.name = name
        self.used, self.reserved, self.total = number * GB, GB // 2, 80 * GB
        self.busy = 10 * number
        self.bus = number + 1
        self.slices = []
        self.__dict__ |= facts


class Driver(types.ModuleType):
    """``pynvml`` as far as we use it."""

    NVMLError = NVMLError
    nvmlMemory_v2 = 2  # noqa: N815 - as it is called there

    def __init__(self, cards):
        super().__init__("pynvml")
        self.cards = cards
        self.calls = []
        self.broken = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.old = False

    def __getattribute__(self, name):
        if name.startswith(("nvmlInit", "nvmlDevice")):
            self.calls.append(name)
            self.goes_on.wait(10)
            if self.broken:
                raise NVMLError("gone")
        return super().__getattribute__(name)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.cards[index]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for card in [*self.cards, *(s for c in self.cards for s in c.slices)]:
            if card.uuid == uuid:
                return card
        raise NVMLError("not found")

    def nvmlDeviceGetHandleByPciBusId(self, bus):
        return next(card for card in self.cards if f"00000000:{card.bus:02x}:00.0" == bus)

    def nvmlDeviceGetUUID(self, card):
        return card.uuid

    def nvmlDeviceGetName(self, card):
        return card.name

    def nvmlDeviceGetMemoryInfo(self, card, version=None):
        if version and self.old:
            raise NVMLError("function not found")
        extra = 0 if version else card.reserved
        return types.SimpleNamespace(used=card.used + extra, total=card.total)

    def nvmlDeviceGetUtilizationRates(self, card):
        if card.busy is None:
            raise NVMLError("not supported")
        return types.SimpleNamespace(gpu=card.busy)

    def nvmlDeviceGetMigMode(self, card):
        if not card.slices:
            raise NVMLError("not supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, card):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card, number):
        # As in life: instances have numbers with gaps.
        if number < 2:
            raise NVMLError("not found")
        return card.slices[number - 2]


@pytest.fixture
def driver(monkeypatch):
    driver = Driver([Card(0), Card(1), Card(2), Card(3)])
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(time=1000.0)
    monkeypatch.setattr(gpu, "time", types.SimpleNamespace(monotonic=lambda: now.time))
    return now


@pytest.fixture
def cuda(monkeypatch):
    """Has torch say which GPU it computes on, by its own index."""

    def initialize(*cards, with_uuid=True):
        def properties(index):
            card = cards[index]
            facts = {"pci_domain_id": 0, "pci_bus_id": card.bus, "pci_device_id": 0}
            if with_uuid:
                facts["uuid"] = card.uuid.partition("-")[2]
            return types.SimpleNamespace(**facts)

        torch = types.SimpleNamespace(
            cuda=types.SimpleNamespace(
                is_initialized=lambda: True, get_device_properties=properties
            )
        )
        monkeypatch.setitem(sys.modules, "torch", torch)

    return initialize


def used(device, **environ):
    found = gpu.Meter(environ).read(device)
    return found and found.used // GB


def test_a_gpu_is_given_with_its_memory_and_utilization(driver):
    assert gpu.Meter({}).read("cuda:2") == Gpu("A100", 2 * GB, 80 * GB, 20)


@pytest.mark.parametrize("device", ["cpu", "", "meta", "cuda"])
def test_nvml_is_not_asked_without_a_cuda_device(driver, device):
    assert gpu.Meter({}).read(device) is None
    assert driver.calls == []


def test_the_gpu_of_a_rank_is_that_of_its_place_in_the_group(driver):
    meter = gpu.Meter({})
    assert gpu.current(None, meter) is None
    assert gpu.current(GroupInfo("gloo", 0, 1, "cpu", is_main=True), meter) is None
    assert gpu.current(GroupInfo("nccl", 1, 2, "cuda:1", is_main=False), meter).used == GB


@pytest.mark.parametrize(
    ("visible", "device", "expected"),
    [
        ("2,3", "cuda:1", 3),
        (" 2 , 0 ", "cuda:1", 0),
        ("GPU-222-aaaa,GPU-111-aaaa", "cuda:1", 1),
        ("GPU-22", "cuda:0", 2),
        ("GPU-", "cuda:0", None),
        ("GPU-9", "cuda:0", None),
        ("", "cuda:0", None),
        ("-1", "cuda:0", None),
        ("1,-1,2", "cuda:0", 1),
        ("1,-1,2", "cuda:1", None),
        ("7", "cuda:0", None),
        ("1", "cuda:1", None),
        ("NoDevFiles", "cuda:0", None),
    ],
)
def test_the_index_of_a_gpu_counts_visible_gpus(driver, visible, device, expected):
    assert used(device, CUDA_VISIBLE_DEVICES=visible) == expected


def test_the_index_of_different_gpus_is_unknown_until_cuda_is_initialised(driver, cuda):
    slow = Card(5, "T4")
    driver.cards[0] = slow
    assert used("cuda:1") is None
    assert used("cuda:0", CUDA_DEVICE_ORDER="PCI_BUS_ID") == 5
    assert used("cuda:0", CUDA_VISIBLE_DEVICES="GPU-111") == 1
    cuda(driver.cards[1], driver.cards[2], slow)
    assert used("cuda:0") == 1
    assert used("cuda:2") == 5


def test_a_gpu_without_a_uuid_in_torch_is_found_by_its_place_on_the_bus(driver, cuda):
    cuda(driver.cards[3], driver.cards[0], with_uuid=False)
    assert used("cuda:0") == 3


def test_a_gpu_is_looked_up_again_when_cuda_is_initialised(driver, cuda, clock):
    meter = gpu.Meter({})
    assert meter.read("cuda:0").used == 0
    cuda(driver.cards[3])
    assert meter.read("cuda:0").used == 3 * GB


@pytest.fixture
def divided(driver):
    slices = [Card(n, f"A100 MIG {n}", uuid=f"MIG-{n}", busy=None) for n in (4, 5)]
    driver.cards[1].slices = slices
    return driver


def test_a_slice_of_a_gpu_is_found_by_its_uuid(divided):
    found = gpu.Meter({"CUDA_VISIBLE_DEVICES": "MIG-5"}).read("cuda:0")
    assert found == Gpu("A100 MIG 5", 5 * GB, 80 * GB, None)


def test_the_first_slice_of_a_divided_gpu_is_taken(divided):
    assert used("cuda:0", CUDA_VISIBLE_DEVICES="1") == 4


@pytest.mark.parametrize("said", [1, 5])
def test_torch_may_name_a_slice_or_the_gpu_that_it_belongs_to(divided, cuda, said):
    cuda(divided.cards[1] if said == 1 else divided.cards[1].slices[1])
    assert used("cuda:0", CUDA_VISIBLE_DEVICES="MIG-5") == 5
    assert used("cuda:0", CUDA_VISIBLE_DEVICES="1") == {1: 4, 5: 5}[said]


def test_an_old_driver_gives_the_memory_of_the_first_version(driver):
    driver.old = True
    assert gpu.Meter({}).read("cuda:2").used == 2 * GB + GB // 2


def test_a_reading_is_kept_for_a_moment_and_nvml_initialised_once(driver, clock):
    meter = gpu.Meter({})
    meter.read("cuda:1")
    driver.cards[1].used = 9 * GB
    before = len(driver.calls)
    clock.time += 0.4
    assert meter.read("cuda:1").used == GB
    assert len(driver.calls) == before
    clock.time += 0.2
    assert meter.read("cuda:1").used == 9 * GB
    assert driver.calls[before:] == [
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUtilizationRates",
    ]


def test_a_driver_that_fails_is_not_asked_for_a_while(driver, clock):
    meter = gpu.Meter({})
    assert meter.read("cuda:0") is not None
    driver.broken = True
    clock.time += 1
    assert meter.read("cuda:0") is None
    before = len(driver.calls)
    clock.time += 59
    assert meter.read("cuda:0") is None
    assert len(driver.calls) == before
    driver.broken = False
    clock.time += 2
    assert meter.read("cuda:0") is not None


def test_a_driver_that_hangs_does_not_hold_up_the_caller(driver, clock):
    meter = gpu.Meter({})
    assert meter.read("cuda:0") is not None
    driver.goes_on.clear()
    clock.time += 1
    # For a moment the last reading is used; no call waits for the driver again.
    assert meter.read("cuda:0") is not None
    calls = len(driver.calls)
    clock.time += 10
    assert meter.read("cuda:0") is None
    assert len(driver.calls) == calls
    driver.goes_on.set()
    wait_until(lambda: meter.read("cuda:0") is not None, SOON)


def test_no_gpu_is_read_where_no_thread_can_be_started(driver, monkeypatch, clock):
    meter = gpu.Meter({})
    rank = GroupInfo("nccl", 1, 2, "cuda:1", is_main=False)
    start = threading.Thread.start

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert gpu.current(rank, meter) is None
    monkeypatch.setattr(threading.Thread, "start", start)
    assert gpu.current(rank, meter).used == GB


def test_no_gpu_is_read_while_torch_is_being_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))  # it is being imported
    assert gpu.current(GroupInfo("nccl", 1, 2, "cuda:1", is_main=False)) is None


def test_without_the_package_of_nvml_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.Meter({}).read("cuda:0") is None


def test_the_real_nvml_gives_nothing_or_a_gpu():
    """The real package, on whatever machine this is."""
    found = gpu.Meter().read("cuda:0")
    assert found is None or found.total > 0


def test_the_real_pynvml_has_every_name_of_the_stand_in():
    import pynvml

    names = [n for n in vars(Driver) if n.startswith("nvml")]
    assert [n for n in [*names, "NVMLError"] if not hasattr(pynvml, n)] == []
