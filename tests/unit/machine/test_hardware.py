"""Hardware is detected quickly and correctly, and the detection never disturbs a run."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine import hardware, limits, nvidia
from mlflow_plugin.machine.hardware import Gpu, Hardware, detect_hardware, usage

RTX_5090 = Gpu("NVIDIA GeForce RTX 5090", 31.84)
WORKSTATION = Hardware("AMD EPYC 7B13", 16, 64.0, (RTX_5090, RTX_5090))


class NvmlError(Exception):
    pass


class FakeNvml:
    """The calls of pynvml that are used, for a machine with the given cards."""

    NVMLError = NvmlError

    def __init__(self, *names: str, busy: bool = True) -> None:
        self.names = names
        self.busy = busy

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        raise NvmlError(uuid)

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}f00d-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return self.names[handle].encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=32 * 2**30, used=8 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        if not self.busy:
            raise NvmlError("not supported")
        return SimpleNamespace(gpu=40 + 20 * handle)


@pytest.fixture(autouse=True)
def _forget_hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    hardware._detect.cache_clear()
    yield
    hardware._detect.cache_clear()


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_driver", lambda: FakeNvml("NVIDIA L4", "NVIDIA  H200"))


def test_this_machine_is_described_within_its_affinity() -> None:
    hardware = detect_hardware()
    assert 1 <= hardware.cpu_cores <= (os.cpu_count() or 1)
    assert hardware.cpu_model
    assert hardware.memory_gib > 0.1
    assert hardware.cpu_model in hardware.describe()


@pytest.mark.skipif(any(map(os.path.exists, nvidia.DRIVER_FILES)), reason="a driver takes its own time to answer")
def test_detection_without_a_gpu_takes_under_20_ms() -> None:
    detect_hardware()
    durations = []
    for _ in range(5):
        hardware._detect.cache_clear()
        start = time.perf_counter()
        detect_hardware()
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.020


def test_hardware_is_cached_per_visible_gpus(two_cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert detect_hardware() is detect_hardware()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.name for gpu in detect_hardware().gpus] == ["NVIDIA H200"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no CPU affinity")
def test_cores_are_those_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert detect_hardware().cpu_cores == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_cpu_quota_of_one_and_a_half_counts_as_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(limits, "core_limit", lambda: 1.5)
    assert detect_hardware().cpu_cores == 2


def test_memory_is_no_more_than_the_container_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory_limit", lambda: limits.MemoryLimit(2**28, 2**27))
    assert detect_hardware().memory_gib == 0.25
    assert usage()["memory_percent"] == 50.0


def test_detection_survives_every_probe_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("gone")

    for module, probe in [(nvidia, "names_and_memory"), (limits, "core_limit"), (hardware, "_memory_bytes")]:
        monkeypatch.setattr(module, probe, broken)
    monkeypatch.setattr(hardware, "_cpu_model", broken)
    assert detect_hardware() == Hardware("unknown CPU", 1, 0.0)
    assert detect_hardware().describe() == "unknown CPU, 1 core"


def test_a_cpu_without_a_model_name_is_called_by_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.setattr(hardware, "_proc_cpu_model", lambda: "")
    monkeypatch.setattr(sys, "platform", "linux")
    assert hardware._cpu_model() == platform.machine()


def test_a_mac_asks_sysctl_and_falls_back_to_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: SimpleNamespace(stdout="Apple M3 Max\n"))
    assert hardware._cpu_model() == "Apple M3 Max"
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: (_ for _ in ()).throw(FileNotFoundError()))
    assert hardware._cpu_model() == platform.machine()


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["NVIDIA L4", "NVIDIA H200"]),
        ("", []),
        ("-1", []),
        ("1", ["NVIDIA H200"]),
        ("1, 0", ["NVIDIA H200", "NVIDIA L4"]),
        ("0,7,1", ["NVIDIA L4"]),
        ("GPU-1f0", ["NVIDIA H200"]),
        ("GPU-", []),
        ("MIG-gone,0", []),
        ("none", []),
    ],
)
def test_visible_gpus_are_read_as_cuda_reads_them(two_cards: None, visible: str | None, names: list[str]) -> None:
    assert [name for name, _ in nvidia.names_and_memory(visible)] == names


def test_usage_is_that_of_the_visible_gpus(two_cards: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usage()["gpu_percent"] == 50.0
    assert usage()["gpu_memory_percent"] == 25.0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert usage()["gpu_percent"] == 40.0


def test_usage_leaves_out_gpus_that_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "_driver", lambda: FakeNvml("NVIDIA L4", busy=False))
    assert "gpu_percent" not in usage()
    assert 0 < usage()["memory_percent"] <= 100


def test_usage_of_the_cpu_is_missing_in_the_first_call_of_each_thread() -> None:
    answers: list[dict[str, float]] = []

    def heartbeat() -> None:
        answers.append(usage())
        sum(range(2_000_000))
        answers.append(usage())

    thread = threading.Thread(target=heartbeat)
    thread.start()
    thread.join()
    assert "cpu_percent" not in answers[0]
    assert 0 < answers[1]["cpu_percent"] <= 100


def test_the_description_groups_like_gpus() -> None:
    expected = "2 x NVIDIA GeForce RTX 5090 (32 GiB), AMD EPYC 7B13, 16 cores, 64 GiB"
    assert WORKSTATION.describe() == expected


def test_like_hardware_means_the_same_gpus_whatever_the_host() -> None:
    other_host = Hardware("Intel Xeon", 64, 512.0, (RTX_5090, RTX_5090))
    assert other_host.key == WORKSTATION.key == "2 x NVIDIA GeForce RTX 5090"
    assert Hardware("Intel Xeon", 64, 512.0, (RTX_5090,)).key != WORKSTATION.key


def test_like_hardware_without_gpus_means_the_same_cpu_and_cores() -> None:
    assert Hardware("AMD EPYC", 2, 4.0).key == Hardware("AMD EPYC", 2, 8.0).key
    assert Hardware("AMD EPYC", 2, 4.0).key != Hardware("AMD EPYC", 4, 4.0).key


def test_hardware_survives_json_and_fields_of_later_versions() -> None:
    assert Hardware.from_json(WORKSTATION.to_json()) == WORKSTATION
    assert Hardware.from_json(WORKSTATION.to_json().replace("{", '{"tpus": 4, ', 1)) == WORKSTATION


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"gpus": 3}', '{"gpus": [], "cpu_model": "x"}'])
def test_a_malformed_hardware_record_is_one_clear_error(text: str) -> None:
    with pytest.raises(PhaseError, match=r"hardware record .* cannot be read"):
        Hardware.from_json(text)


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_tightest_limit_on_the_way_up_counts_in_version_2(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/jobs"
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/jobs/one\n",
            f"{group}/one/cpu.max": "max 100000\n",
            f"{group}/cpu.max": "250000 100000\n",
            f"{group}/one/memory.max": "4096\n",
            f"{group}/one/memory.current": "3000\n",
            f"{group}/one/memory.stat": "anon 900\ninactive_file 1000\n",
            f"{group}/memory.max": "8192\n",
        },
    )
    assert limits.core_limit(root) == 2.5
    assert limits.memory_limit(root) == (4096, 2000)


def test_limits_of_version_1_are_found_from_inside_a_container(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/of-the-host\n3:cpu,cpuacct:/docker/of-the-host\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "700",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 200",
        },
    )
    assert limits.core_limit(root) == 0.5
    assert limits.memory_limit(root) == (1000, 500)


@pytest.mark.parametrize("unlimited", ["max", "9223372036854771712", ""])
def test_no_limit_is_no_limit(tmp_path: Path, unlimited: str) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": unlimited,
        "sys/fs/cgroup/cpu.max": "max 100000",
    }
    assert limits.memory_limit(write(tmp_path, files)) is None
    assert limits.core_limit(tmp_path) is None
    assert limits.memory_limit(tmp_path / "not-linux") is None


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"psutil", "pynvml", "mlflow", "torch", "numpy", "subprocess", "platform"}
    modules = "mlflow_plugin.machine.hardware, mlflow_plugin.machine.prices"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
