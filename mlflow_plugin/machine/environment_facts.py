"""What a Python environment consists of. Needs nothing but Python: run as a script by another environment's
interpreter, it prints that environment's facts as JSON.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator

FORMAT_VERSION = 1
_AT_MOST = 5000
_DRIVER_FILE = "/proc/driver/nvidia/version"
# Those that change results or speed. No others: variables hold passwords and tokens.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "PYTORCH_CUDA_ALLOC_CONF",
)


def environment_facts() -> dict[str, object]:
    """This process's environment: `python`, `platform`, `gpu_driver` (None without one), `variables` and `packages`
    (name -> version), as plain values.

    Versions are read from the names of the metadata folders: asking `importlib.metadata` takes 100 times as long.
    """
    return {
        "format_version": FORMAT_VERSION,
        "python": f"{sys.implementation.name} {'.'.join(map(str, sys.version_info[:3]))}",
        "platform": _platform(),
        "gpu_driver": _gpu_driver(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "packages": installed_packages([*sys.path, os.path.join(sys.prefix, "conda-meta")]),
    }


def installed_packages(folders: Iterable[str]) -> dict[str, str]:
    """Name -> version of the packages in these folders, sorted; of two with one name the first, as Python finds them.
    conda's folder `conda-meta` counts too, so that its libraries are seen.
    """
    found: dict[str, str] = {}
    for folder in folders:
        for name, version in _packages_in(folder):
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return dict(sorted(found.items())[:_AT_MOST])


def _packages_in(folder: str) -> Iterator[tuple[str, str]]:
    try:
        entries = sorted(os.listdir(folder or "."))
    except OSError:
        return
    of_conda = os.path.basename(folder) == "conda-meta"
    for entry in entries:
        stem, suffix = os.path.splitext(entry)
        parts = stem.rsplit("-", 2) if of_conda else stem.split("-")
        if suffix in ((".json",) if of_conda else (".dist-info", ".egg-info")) and len(parts) > 1:
            yield parts[0], parts[1]


def _platform() -> str:
    system = os.uname() if hasattr(os, "uname") else None
    if system is None:
        return sys.platform
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        library = ""
    return " ".join(filter(None, [system.sysname, system.release, system.machine, library]))


def _gpu_driver() -> str | None:
    try:
        with open(_DRIVER_FILE, encoding="utf-8", errors="replace") as file:
            found = re.search(r"\d+\.\d+(?:\.\d+)?", file.readline(1000))
    except OSError:
        return None
    return f"NVIDIA {found[0]}" if found else None


if __name__ == "__main__":
    print(json.dumps(environment_facts()))
