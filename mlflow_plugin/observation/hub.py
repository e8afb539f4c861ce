"""Recognise files in the cache of the Hugging Face hub: they count as a revision of their repository."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SNAPSHOT = re.compile(r"(.*/(models|datasets|spaces)--([^/]+))/snapshots/([^/]+)/.+", re.DOTALL)
_INSIDE = re.compile(
    r".*/(?:models|datasets|spaces)--[^/]+(?:/(?:snapshots|blobs|refs|\.no_exist)(?:/.*)?)?", re.DOTALL
)
_REFERENCE = re.compile(r"hub:(models|datasets|spaces)/(.+)")
_NAME = re.compile(r"(?:datasets/|spaces/)?[\w.-]+(?:/[\w.-]+)?")
_MOST_BYTES = 200


class HubFile(NamedTuple):
    """A file of a hub repository: the folder of the repository in the cache, its name and the revision."""

    folder: str
    repository: str
    revision: str


def hub_file(path: str) -> HubFile | None:
    """Return the repository and revision that a path belongs to, None for any other path.

    >>> hub_file("/c/hub/models--org--name/snapshots/0ddba11/config.json")
    HubFile(folder='/c/hub/models--org--name', repository='org/name', revision='0ddba11')
    """
    match = _SNAPSHOT.fullmatch(path)
    if match is None:
        return None
    folder, kind, name, revision = match.groups()
    prefix = "" if kind == "models" else f"{kind}/"
    return HubFile(folder, prefix + name.replace("--", "/"), revision)


def hub_reference(uri: str, revision: str) -> HubFile | None:
    """Return the repository that a recorded reference such as `hub:models/org/name` means; None for another one."""
    match = _REFERENCE.fullmatch(uri)
    if match is None or not _NAME.fullmatch(match[2]):
        return None
    folder = str(hub_folder() / f"{match[1]}--{match[2].replace('/', '--')}")
    return HubFile(folder, match[2] if match[1] == "models" else f"{match[1]}/{match[2]}", revision)


def is_in_hub(path: str) -> bool:
    """Return True for any path inside the cached copy of a hub repository."""
    return _INSIDE.fullmatch(path) is not None


def branch_of(file: HubFile) -> str:
    """Return the branch or tag that means the revision now.

    It is empty when none does: then the revision was asked for by itself. Without a cache here it is taken for `main`.
    """
    try:
        names = os.listdir(os.path.join(file.folder, "refs"))
    except OSError:
        return "main"
    for name in sorted(names, key=lambda name: (name != "main", name)):
        if _read(os.path.join(file.folder, "refs", name)) == file.revision:
            return name
    return ""


def revision_here(repository: str, branch: str) -> str | None:
    """Return the revision that a branch means in this machine's cache, None when the cache does not know it."""
    if not _NAME.fullmatch(repository) or "/" in branch or branch in ("", ".", ".."):
        return None
    kind, name = "models", repository
    for prefix in ("datasets", "spaces"):
        if repository.startswith(f"{prefix}/"):
            kind, name = prefix, repository.removeprefix(f"{prefix}/")
    return _read(str(hub_folder() / f"{kind}--{name.replace('/', '--')}" / "refs" / branch))


def hub_folder() -> Path:
    """Return the folder of the hub's cache on this machine."""
    if value := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(value)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")) / "hub"


def _read(file: str) -> str | None:
    with suppress(OSError, ValueError):
        if os.path.isfile(file):
            with open(file, encoding="utf-8", errors="replace") as opened:
                return opened.read(_MOST_BYTES).strip()
    return None
