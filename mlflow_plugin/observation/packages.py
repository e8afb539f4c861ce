"""Tell which versions of packages are installed for this interpreter.

Home-made, since `importlib.metadata.version` reads a file for each package: 20 ms for the packages of a usual run, and
a verdict has a few. The names of the metadata folders tell the same.
"""

import os
import re
import sys
from functools import lru_cache

_METADATA = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+)?\.(?:dist-info|egg-info)")


def installed_version(package: str) -> str | None:
    """Return the version of a package that this interpreter would import, None when it is not installed."""
    name = _canonical(package)
    for folder in sys.path:
        if version := _versions(folder or os.getcwd(), _changed(folder)).get(name):
            return version
    return None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _changed(folder: str) -> int | None:
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=64)
def _versions(folder: str, changed: int | None) -> dict[str, str]:
    """The packages in a folder, which is read again only when it has changed."""
    try:
        entries = sorted(os.listdir(folder)) if changed is not None else []
    except OSError:
        return {}
    matches = [match for entry in entries if (match := _METADATA.fullmatch(entry))]
    return {_canonical(match["name"]): match["version"] for match in matches}
