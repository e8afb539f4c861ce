"""The installed packages behind imported modules, read from the metadata in folders of another environment."""

import os
import re
from collections.abc import Iterable, Set
from pathlib import Path

_METADATA = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(-py[\d.]+)?\.(dist-info|egg-info)$")


def installed_versions(modules: Set[str], folders: Iterable[str], own: Set[str]) -> dict[str, str]:
    """Return the packages that hold modules.

    Args:
        modules: Names of modules at top level.
        folders: The folders of installed packages that they may come from.
        own: Files of the user's own modules, which are no packages though they may be named alike.

    Returns:
        The name of each package in its canonical form -> its version.
    """
    wanted = {name for name in modules if not _is_own(name, own)}
    versions: dict[str, str] = {}
    for folder in sorted(folders):
        for metadata, name, version in _installed(folder):
            if wanted & _top_level(metadata, name):
                versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return versions


def _is_own(module: str, own: Set[str]) -> bool:
    ends = (f"/{module}.py", f"/{module}/__init__.py")
    return any(file.endswith(ends) for file in own)


def _installed(folder: str) -> list[tuple[Path, str, str]]:
    """Return the metadata folder, name and version of each package in a folder."""
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return []
    return [
        (Path(folder, entry), match["name"], match["version"]) for entry in entries if (match := _METADATA.match(entry))
    ]


def _top_level(metadata: Path, name: str) -> set[str]:
    """Return the modules at top level that a package holds, by its metadata and else by its name."""
    plain = name.replace("-", "_").replace(".", "_")
    names = {plain, plain.lower()}
    try:
        return names | set((metadata / "top_level.txt").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        pass
    try:
        record = (metadata / "RECORD").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return names
    tops = {line.split("/", 1)[0].split(",", 1)[0] for line in record.splitlines()}
    return names | {top.split(".", 1)[0] for top in tops if not top.endswith((".dist-info", ".pth", ".."))}
