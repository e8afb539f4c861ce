"""Ask the driver for the NVIDIA GPUs that this process may use, without importing a deep-learning framework."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

# Without one of these files there is no driver on Linux, and pynvml need not be imported (15 ms).
DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


class GpuUsage(NamedTuple):
    """Means over the visible GPUs, in percent (0 to 100)."""

    compute_percent: float
    memory_percent: float


def names_and_memory(visible: str | None) -> list[tuple[str, float]]:
    """Return the name and memory (GiB) of each visible GPU.

    GPUs are numbered by PCI bus, as with CUDA_DEVICE_ORDER=PCI_BUS_ID. CUDA's default order may differ when the machine
    has different GPUs.

    Args:
        visible: The value of CUDA_VISIBLE_DEVICES, None when it is not set: all GPUs.
    """
    nvml = _driver()
    if nvml is None:
        return []
    handles = _handles(nvml, visible)
    return [(_name(nvml, handle), nvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30) for handle in handles]


def gpu_usage(visible: str | None) -> GpuUsage | None:
    """Return how busy the visible GPUs are now, None without a GPU or where the driver cannot tell (MIG instances).

    Args:
        visible: The value of CUDA_VISIBLE_DEVICES, None when it is not set: all GPUs.
    """
    nvml = _driver()
    if nvml is None:
        return None
    compute, memory = [], []
    for handle in _handles(nvml, visible):
        try:
            compute.append(float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
            info = nvml.nvmlDeviceGetMemoryInfo(handle)
            memory.append(100.0 * info.used / info.total)
        except nvml.NVMLError:
            continue
    if not memory:
        return None
    return GpuUsage(sum(compute) / len(compute), sum(memory) / len(memory))


@cache
def _driver() -> Any:
    """Return the initialised pynvml module, None without a driver."""
    if sys.platform == "darwin" or (sys.platform == "linux" and not any(map(os.path.exists, DRIVER_FILES))):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _handles(nvml: Any, visible: str | None) -> Iterator[Any]:
    devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    if visible is None:
        yield from devices
        return
    for entry in visible.split(","):
        handle = _handle(nvml, devices, entry.strip())
        # CUDA ignores every entry from the first invalid one on: "-1" hides all, "0,9" shows one.
        if handle is None:
            return
        yield handle


def _handle(nvml: Any, devices: list[Any], entry: str) -> Any:
    if entry.isdigit():
        return devices[int(entry)] if int(entry) < len(devices) else None
    if entry.startswith("GPU-"):
        matches = [device for device in devices if _text(nvml.nvmlDeviceGetUUID(device)).startswith(entry)]
        return matches[0] if len(matches) == 1 else None
    if entry.startswith("MIG-"):
        try:
            return nvml.nvmlDeviceGetHandleByUUID(entry)
        except nvml.NVMLError:
            return None
    return None


def _name(nvml: Any, handle: Any) -> str:
    return " ".join(_text(nvml.nvmlDeviceGetName(handle)).split())


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
