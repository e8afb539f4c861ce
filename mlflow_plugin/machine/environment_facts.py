"""Describe a Python environment: interpreter, platform, GPU driver, packages.

Uses only the standard library. Run as a script by the interpreter of another environment, it prints the facts of that
environment as JSON. Written here because `pip freeze` needs pip in that environment, takes a second and omits the rest.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator

FORMAT_VERSION = 1
_MAX_PACKAGES = 5000
_DRIVER_FILE = "/proc/driver/nvidia/version"
# The variables that change results or speed. No others: variables may hold passwords and tokens.
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
    """Describe this process's environment.

    Returns:
        Plain values: `format_version`, `python`, `platform`, `gpu_driver` (None without one), `variables` and
        `packages` (name -> version). Versions are read from the names of the metadata folders, because
        `importlib.metadata` takes 100 times as long.
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
    """Return name -> version of the packages in these folders, sorted by name.

    Of two packages with one name the first counts, as for Python's import. A folder `conda-meta` is read as conda's
    list of packages and libraries.
    """
    versions: dict[str, str] = {}
    for folder in folders:
        for name, version in _packages_in(folder):
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return dict(sorted(versions.items())[:_MAX_PACKAGES])


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
            version = re.search(r"\d+\.\d+(?:\.\d+)?", file.readline(1000))
    except OSError:
        return None
    return f"NVIDIA {version[0]}" if version else None


if __name__ == "__main__":
    print(json.dumps(environment_facts()))
