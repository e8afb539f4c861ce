"""Find the files that Python needs to run without any installed package: all that a confined process may read."""

import functools
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError

_PACKAGES = {"site-packages", "dist-packages"}
_OTHERS = (
    *("/etc/ld.so.cache", "/usr/lib/locale/C.utf8", "/usr/share/zoneinfo"),
    *("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"),
)
# Which shared libraries the extension modules need depends on how Python was built: load all, and look.
_PROBE = """
import contextlib, importlib, pkgutil, sys, sysconfig
sys.stdout.flush()
for module in pkgutil.iter_modules([sysconfig.get_config_var("DESTSHARED")]):
    with contextlib.suppress(Exception):
        importlib.import_module(module.name)
with open("/proc/self/maps", "rb") as stream:
    names = {line.split(maxsplit=5)[5].strip() for line in stream if b"/" in line}
sys.stdout.buffer.write(b"\\0".join(names))
"""
_LONGEST_PROBE = 120


@dataclass(frozen=True)
class PythonFiles:
    """The files of Python, without installed packages.

    Attributes:
        readable: Files and folders that hold nothing else.
        mounted: Files and folders that hold them, and the folders of `covered`.
        covered: Folders of installed packages.
    """

    readable: tuple[str, ...]
    mounted: tuple[str, ...]
    covered: tuple[str, ...]


@functools.cache
def python_files() -> PythonFiles:
    """Return the files of the Python that runs this. Raise PhaseError if it cannot be started."""
    # Not "platstdlib": in a virtual environment that is the folder of its installed packages.
    standard = {sysconfig.get_path("stdlib"), os.path.dirname(os.__file__)}
    standard |= {os.path.dirname(folder) for folder in [sysconfig.get_config_var("DESTSHARED")] if folder}
    standard |= {os.path.realpath(folder) for folder in standard}
    libraries = [*_libraries(standard)]
    readable, covered = set[str](), set[str]()
    for folder in standard:
        for entry in os.scandir(folder):
            (covered if entry.name in _PACKAGES else readable).add(entry.path)
    others = {path for path in _OTHERS if os.path.exists(path)}
    return PythonFiles(
        readable=tuple(sorted(readable | others | set(libraries))),
        mounted=tuple(sorted(standard | others | set(libraries))),
        covered=tuple(sorted(covered)),
    )


def _libraries(standard: Iterable[str]) -> Iterator[str]:
    """Yield the folders of the shared libraries that Python loads; of one that has more, its libraries only."""
    if sys.platform != "linux":
        yield from filter(os.path.exists, ("/lib", "/usr/lib"))
        return
    command = [sys.executable, "-I", "-S", "-B", "-c", _PROBE]
    try:
        found = subprocess.run(command, capture_output=True, timeout=_LONGEST_PROBE, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise PhaseError(f"Python could not be started to run code in: {error}. Close other programs.") from None
    names = {os.fsdecode(name) for name in found.split(b"\0") if b".so" in name}
    for folder in sorted({os.path.dirname(name) for name in names}):
        if any(Path(folder).is_relative_to(known) for known in standard):
            continue
        if any(name.startswith("python") for name in os.listdir(folder)):
            yield from (entry.path for entry in os.scandir(folder) if ".so" in entry.name and entry.is_file())
        else:
            yield folder
