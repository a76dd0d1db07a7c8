"""How full and how busy this rank's GPU is, as NVML reports it.

NVML neither initialises CUDA nor makes a CUDA context. It counts every GPU of the host in the order
of the PCI bus; CUDA counts only those in ``CUDA_VISIBLE_DEVICES``, by default the fastest first. So
a device is looked up by its UUID where that is known.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import takewhile
from typing import Any, TypeAlias

from rankbook.models import Gpu, GroupInfo

__all__ = ["Meter", "are_shown", "current"]

_KEPT = 0.5
"""Seconds for which a reading is reused."""

_PAUSE = 60.0
"""Seconds without a retry after a failure: most likely there is no NVML."""

_PATIENCE = 0.1
"""Seconds to wait for the driver, which answers within a few ms once NVML is initialised."""

_STALE = 5.0
"""Seconds after which a reading is too old to be shown: the driver does not answer."""

_Key: TypeAlias = tuple[int, bool]
"""A device's index, and whether torch has initialised CUDA."""

_CUDA_DEVICE = re.compile(r"cuda:(\d+)")
_VISIBLE = re.compile(r"\d+|(GPU|MIG)-.+")


def are_shown(environ: Mapping[str, str]) -> bool:
    """Whether ``CUDA_VISIBLE_DEVICES`` lets this process see any GPU."""
    with suppress(LookupError):  # the variable names none that is there
        return bool(_visible(0, environ.get("CUDA_VISIBLE_DEVICES")))
    return False


def current(info: GroupInfo | None, meter: Meter | None = None) -> Gpu | None:
    """The rank's GPU right now; None without one or without NVML. Never raises.

    Args:
        info: The engine's place in the group, None if it has none.
        meter: Reads its figures; None: this process's.
    """
    try:
        return (meter or _meter).read(info.device) if info is not None else None
    except Exception:  # noqa: BLE001 - if no thread can be started, only a figure is missing
        return None


class Meter:
    """Reads one device at a time; initialises NVML when it is first asked for a CUDA device.

    It asks in its own thread: a slow or hanging driver must not delay the caller.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._nvml: Any = None
        self._key: _Key | None = None
        self._handle: tuple[_Key, Any] | None = None
        self._asking: threading.Thread | None = None
        self._last: Gpu | None = None
        self._taken = 0.0
        self._until = 0.0

    def read(self, device: str) -> Gpu | None:
        """A device's figures; None if they are unavailable.

        Args:
            device: ``str(torch.device)``, its index among the visible ones: ``cuda:1``.
        """
        found = _CUDA_DEVICE.fullmatch(device)
        if found is None:
            return None
        # Once CUDA is initialised, it is certain which GPU it is.
        key = (int(found[1]), _torch() is not None)
        if key != self._key:
            self._key, self._last, self._until = key, None, 0.0
        idle = self._asking is None or not self._asking.is_alive()
        if idle and time.monotonic() >= self._until:
            self._asking = threading.Thread(
                target=self._take, args=(key,), name="rankbook-nvml", daemon=True
            )
            self._asking.start()
            self._asking.join(_PATIENCE)
        return self._last if time.monotonic() - self._taken < _STALE else None

    def _take(self, key: _Key) -> None:
        reading: Gpu | None = None
        pause = _PAUSE
        try:
            reading, pause = self._ask(key), _KEPT
        except Exception:  # noqa: BLE001 - whatever is wrong with a driver: only a figure is missing
            self._nvml = self._handle = None
        if key == self._key:
            self._last, self._taken = reading, time.monotonic()
            self._until = self._taken + pause

    def _ask(self, key: _Key) -> Gpu | None:
        if self._nvml is None:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
        nvml = self._nvml
        if self._handle is None or self._handle[0] != key:
            self._handle = key, _instance(nvml, self._find(nvml, key[0]))
        handle = self._handle[1]
        memory = _memory(nvml, handle)
        return Gpu(
            name=str(nvml.nvmlDeviceGetName(handle)),
            used=int(memory.used),
            total=int(memory.total),
            utilization=_utilization(nvml, handle),
        )

    def _find(self, nvml: Any, index: int) -> Any:
        entry = _visible(index, self._environ.get("CUDA_VISIBLE_DEVICES"))
        if (torch := _torch()) is not None:
            return _of_torch(nvml, torch, index, entry)
        in_order = self._environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        return _of_entry(nvml, entry, in_order=in_order)


_meter = Meter()


def _torch() -> Any:
    """torch, if it has initialised CUDA in this process."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None


def _visible(index: int, variable: str | None) -> str:
    """A device's entry in ``CUDA_VISIBLE_DEVICES``: an index or a UUID.

    Raises:
        LookupError: It hides the device.
    """
    if variable is None:
        return str(index)
    # CUDA takes the entries up to the first invalid one: "-1" hides all devices.
    return list(takewhile(_VISIBLE.fullmatch, (e.strip() for e in variable.split(","))))[index]


def _of_torch(nvml: Any, torch: Any, index: int, entry: str) -> Any:
    """The device that torch uses for an index."""
    if entry.startswith("MIG-"):
        # For a slice of a GPU, CUDA may name the whole GPU.
        return nvml.nvmlDeviceGetHandleByUUID(entry)
    properties = torch.cuda.get_device_properties(index)
    if uuid := getattr(properties, "uuid", None):
        for kind in ("GPU", "MIG"):
            with suppress(nvml.NVMLError):  # it is of the other kind
                return nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}")
    at = (properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id)
    return nvml.nvmlDeviceGetHandleByPciBusId("{:08x}:{:02x}:{:02x}.0".format(*at))


def _of_entry(nvml: Any, entry: str, *, in_order: bool) -> Any:
    """The device of an entry of ``CUDA_VISIBLE_DEVICES``.

    Raises:
        LookupError: The device cannot be determined.
        ValueError: No device matches, or more than one.
    """
    if entry.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(entry)
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    if entry.startswith("GPU-"):
        # CUDA accepts the beginning of a UUID, NVML does not.
        [handle] = [h for h in handles if str(nvml.nvmlDeviceGetUUID(h)).startswith(entry)]
        return handle
    if not in_order and len({nvml.nvmlDeviceGetName(handle) for handle in handles}) > 1:
        raise LookupError("which of them is the fastest is only known once CUDA is initialised")
    return handles[int(entry)]


def _instance(nvml: Any, handle: Any) -> Any:
    """The slice of a divided GPU (MIG) that CUDA uses: by default, the first one."""
    try:
        divided = nvml.nvmlDeviceGetMigMode(handle)[0]
    except nvml.NVMLError:  # a slice itself, or a GPU that cannot be divided
        return handle
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if divided else 0):
        with suppress(nvml.NVMLError):  # there is none of this number
            return nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
    return handle


def _memory(nvml: Any, handle: Any) -> Any:
    try:
        # The first version counts memory reserved by the driver as used.
        return nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2)
    except nvml.NVMLError:
        return nvml.nvmlDeviceGetMemoryInfo(handle)


def _utilization(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except nvml.NVMLError:
        return None
