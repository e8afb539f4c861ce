"""What a phase runs on: found once per process without importing a framework, written to the tag `phase.hardware`."""

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
    """One GPU as its driver names it; `memory_gib` in GiB."""

    name: str
    memory_gib: float


@dataclass(frozen=True)
class Hardware:
    """What one process may use: CPU model, logical CPU cores, memory in GiB (0.0 when unknown), GPUs."""

    cpu_model: str
    cpu_cores: int
    memory_gib: float
    gpus: tuple[Gpu, ...] = ()

    @property
    def key(self) -> str:
        """What counts as like hardware: GPU names and their count, or else CPU model and cores."""
        if self.gpus:
            names = Counter(gpu.name for gpu in self.gpus)
            return " + ".join(f"{count} x {name}" for name, count in sorted(names.items()))
        return f"{self.cpu_model}, {_cores(self.cpu_cores)}"

    def describe(self) -> str:
        """One line for people.

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
        """A JSON object with the fields of this class."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Hardware":
        """The hardware that `to_json` wrote. Fields added by a later version are left out.

        Raises PhaseError when the text is no such record.
        """
        try:
            fields = json.loads(text)
            gpus = tuple(Gpu(str(gpu["name"]), float(gpu["memory_gib"])) for gpu in fields["gpus"])
            return cls(str(fields["cpu_model"]), int(fields["cpu_cores"]), float(fields["memory_gib"]), gpus)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise PhaseError(
                f"The hardware record {text[:200]!r} cannot be read ({type(error).__name__}: {error}). "
                "It holds cpu_model, cpu_cores, memory_gib and gpus; delete or correct it on its run."
            ) from error


def detect_hardware() -> Hardware:
    """The hardware that this process may use, within CPU affinity, control group limits and CUDA_VISIBLE_DEVICES.

    Never raises: what cannot be found is "unknown CPU", 1 core, 0.0 GiB or no GPU. Remembered per process and value of
    CUDA_VISIBLE_DEVICES.
    """
    return _detect(os.environ.get(VISIBLE_GPUS))


def usage() -> dict[str, float]:
    """How busy the machine is now, in percent, without blocking: for heartbeats.

    `cpu_percent` of the whole machine since this thread last asked (missing the first time), `memory_percent` of the
    control group's limit or else of the machine, and with NVIDIA GPUs `gpu_percent` and `gpu_memory_percent`, means
    over the visible ones. What cannot be measured is missing. Never raises.
    """
    values = {"cpu_percent": _attempt(_cpu_percent, None), "memory_percent": _attempt(_memory_percent, None)}
    gpu = _attempt(lambda: nvidia.gpu_usage(os.environ.get(VISIBLE_GPUS)), None)
    if gpu is not None:
        values |= {"gpu_percent": gpu.compute_percent, "gpu_memory_percent": gpu.memory_percent}
    return {name: round(value, 1) for name, value in values.items() if value is not None}


@cache
def _detect(visible: str | None) -> Hardware:
    gpus: list[tuple[str, float]] = _attempt(lambda: nvidia.names_and_memory(visible), [])
    return Hardware(
        cpu_model=_attempt(_cpu_model, "") or UNKNOWN_CPU,
        cpu_cores=_attempt(_cpu_cores, 1),
        memory_gib=round(_attempt(_memory_bytes, 0) / 2**30, 2),
        gpus=tuple(Gpu(name, round(memory, 2)) for name, memory in gpus),
    )


def _attempt(probe: Callable[[], T], otherwise: T) -> T:
    # Bookkeeping must never end a training run, whatever a driver or an odd /proc throws.
    try:
        return probe()
    except Exception:
        return otherwise


def _cpu_model() -> str:
    import platform

    name = ""
    if sys.platform == "darwin":
        name = _attempt(_sysctl_cpu_model, "")
    elif sys.platform == "linux":
        name = _attempt(_proc_cpu_model, "")
    else:
        name = platform.processor()
    # On Linux platform.processor() starts a process; ARM's /proc/cpuinfo names no model, so the architecture stands in.
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
    total = _attempt(lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 0)
    if total <= 0:
        import psutil

        total = psutil.virtual_memory().total
    limit = limits.memory_limit()
    return total if limit is None else min(total, limit.limit)


def _cpu_percent() -> float | None:
    import psutil

    percent = float(psutil.cpu_percent(interval=None))
    # psutil keeps one starting point per thread, so a thread's first answer spans no time and means nothing.
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
