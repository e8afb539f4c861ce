"""Detect the hardware that a process may use, without importing a deep-learning framework.

The result is kept for the process and stored in the tag `phase.hardware`.
"""

import json
import math
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import TypeVar

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine import limits, nvidia

T = TypeVar("T")
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
UNKNOWN_CPU = "unknown CPU"

_measured = threading.local()


@dataclass(frozen=True)
class Gpu:
    """One GPU: the driver's name for it, and its memory in GiB."""

    name: str
    memory_gib: float


@dataclass(frozen=True)
class Hardware:
    """The hardware that one process may use: CPU model, logical cores, memory in GiB (0.0 when unknown), GPUs."""

    cpu_model: str
    cpu_cores: int
    memory_gib: float
    gpus: tuple[Gpu, ...] = ()

    @property
    def key(self) -> str:
        """The key by which runs count as run on like hardware: GPU names and counts, or else CPU model and cores."""
        if self.gpus:
            names = Counter(gpu.name for gpu in self.gpus)
            return " + ".join(f"{count} x {name}" for name, count in sorted(names.items()))
        return f"{self.cpu_model}, {_cores(self.cpu_cores)}"

    def describe(self) -> str:
        """Describe the hardware in one line.

        >>> Hardware("AMD EPYC 7B13", 16, 62.8, (Gpu("NVIDIA L4", 22.5),)).describe()
        '1 x NVIDIA L4 (22 GiB), AMD EPYC 7B13, 16 cores, 63 GiB'
        """
        groups = Counter((gpu.name, _gib(gpu.memory_gib)) for gpu in self.gpus)
        parts = [f"{count} x {name} ({memory})" for (name, memory), count in sorted(groups.items())]
        parts += [self.cpu_model, _cores(self.cpu_cores)]
        if self.memory_gib > 0:
            parts.append(_gib(self.memory_gib))
        return ", ".join(parts)

    def to_json(self) -> str:
        """Return a JSON object with the fields of this class."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Hardware":
        """Read the JSON that `to_json` wrote. Fields that a later version added are ignored.

        Raises:
            PhaseError: The text has another form.
        """
        try:
            fields = json.loads(text)
            gpus = tuple(Gpu(str(gpu["name"]), float(gpu["memory_gib"])) for gpu in fields["gpus"])
            return cls(str(fields["cpu_model"]), int(fields["cpu_cores"]), float(fields["memory_gib"]), gpus)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise PhaseError(
                f"The hardware record {text[:200]!r} cannot be read ({type(error).__name__}: {error}). "
                "It must hold cpu_model, cpu_cores, memory_gib and gpus. Correct or delete the run's tag."
            ) from error


def detect_hardware() -> Hardware:
    """Detect the hardware that this process may use, within CPU affinity, control groups and CUDA_VISIBLE_DEVICES.

    Never raises. Values that cannot be detected are "unknown CPU", 1 core, 0.0 GiB and no GPU. The result is cached for
    each value of CUDA_VISIBLE_DEVICES.
    """
    return _detect(os.environ.get(VISIBLE_GPUS))


def visible_gpus() -> tuple[str, ...]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    count = len(detect_hardware().gpus)
    named = [name.strip() for name in os.environ.get(VISIBLE_GPUS, "").split(",") if name.strip()]
    return tuple(named[:count] if named else map(str, range(count)))


def usage() -> dict[str, float]:
    """Measure how busy the machine is, without blocking, for heartbeats. Never raises.

    Returns:
        Percentages, 0 to 100: `cpu_percent` of the whole machine since this thread's last call (missing in the first
        call), `memory_percent` of the control group's limit or else of the machine, and with NVIDIA GPUs `gpu_percent`
        and `gpu_memory_percent`, means over the visible GPUs. Values that cannot be measured are missing.
    """
    values = {"cpu_percent": _probe(_cpu_percent, None), "memory_percent": _probe(_memory_percent, None)}
    gpu = _probe(lambda: nvidia.gpu_usage(os.environ.get(VISIBLE_GPUS)), None)
    if gpu is not None:
        values |= {"gpu_percent": gpu.compute_percent, "gpu_memory_percent": gpu.memory_percent}
    return {name: round(value, 1) for name, value in values.items() if value is not None}


@cache
def _detect(visible: str | None) -> Hardware:
    gpus: list[tuple[str, float]] = _probe(lambda: nvidia.names_and_memory(visible), [])
    return Hardware(
        cpu_model=_probe(_cpu_model, "") or UNKNOWN_CPU,
        cpu_cores=_probe(_cpu_cores, 1),
        memory_gib=round(_probe(_memory_bytes, 0) / 2**30, 2),
        gpus=tuple(Gpu(name, round(memory, 2)) for name, memory in gpus),
    )


def _probe(measure: Callable[[], T], default: T) -> T:
    # Bookkeeping must never end a training run: a driver or an unusual /proc may raise anything.
    try:
        return measure()
    except Exception:
        return default


def _cpu_model() -> str:
    import platform

    name = ""
    if sys.platform == "darwin":
        name = _probe(_sysctl_cpu_model, "")
    elif sys.platform == "linux":
        name = _probe(_proc_cpu_model, "")
    else:
        name = platform.processor()
    # On Linux platform.processor() starts a process. On ARM /proc/cpuinfo names no model: use the architecture.
    name = name or platform.machine()
    return " ".join(name.replace("(R)", "").replace("(TM)", "").split())


def _sysctl_cpu_model() -> str:
    import subprocess

    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, timeout=2, check=True).stdout


def _proc_cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            field, _, value = line.partition(":")
            if field.strip() == "model name":
                return value.strip()
    return ""


def _cpu_cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = limits.core_limit()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _memory_bytes() -> int:
    total = _probe(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0)
    if total <= 0:
        import psutil

        total = psutil.virtual_memory().total
    limit = limits.memory_limit()
    return total if limit is None else min(total, limit.limit)


def _cpu_percent() -> float | None:
    import psutil

    percent = float(psutil.cpu_percent(interval=None))
    # psutil measures since the thread's last call, so a thread's first value is meaningless.
    first = not getattr(_measured, "cpu", False)
    _measured.cpu = True
    return None if first else percent


def _memory_percent() -> float:
    limit = limits.memory_limit()
    if limit is not None:
        return 100.0 * limit.used / limit.limit
    import psutil

    return float(psutil.virtual_memory().percent)


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _gib(size: float) -> str:
    return f"{size:.0f} GiB" if size >= 10 else f"{size:.2g} GiB"
