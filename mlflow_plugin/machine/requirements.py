"""Compare what an environment file asks for with the environment of this process."""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from mlflow_plugin.errors import PhaseError


def unmet_requirements(file: Path) -> list[str]:
    """List what a conda.yaml or python_env.yaml asks for and this environment lacks, one phrase each."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise PhaseError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("dependencies") or [], list):
        raise PhaseError(f"{file}: cannot be read as an environment: it needs a list `dependencies:`.")
    unmet = []
    if python := content.get("python"):
        unmet += _python_unmet(str(python))
    for entry in content.get("dependencies") or []:
        if isinstance(entry, dict):
            for line in entry.get("pip") or []:
                unmet += _line_unmet(str(line), file.parent)
        elif (name := str(entry).split("=")[0].split("<")[0].split(">")[0].strip()) == "python":
            unmet += _python_unmet(str(entry)[len(name) :].lstrip("= "))
        elif name not in ("pip", "setuptools", "wheel"):
            unmet += _line_unmet(_pip_form(str(entry)), file.parent)
    return unmet


def _pip_form(entry: str) -> str:
    # conda writes `numpy=1.26`, which means 1.26.*; python_env.yaml writes pip's own form.
    name, found, version = entry.partition("=")
    exact = not found or name[-1:] in "<>!~=" or version.startswith("=") or entry.startswith("-")
    return entry if exact else f"{name}=={version.split('=')[0]}.*"


def _python_unmet(wanted: str) -> list[str]:
    have = ".".join(map(str, sys.version_info[:3]))
    try:
        if wanted[:1].isdigit():
            asked = wanted.split(".")
            satisfied = have.split(".")[: min(len(asked), 2)] == asked[:2]
        else:
            satisfied = have in SpecifierSet(wanted)
    except InvalidSpecifier:
        return [f"python {wanted!r} is no version"]
    return [] if satisfied else [f"python {wanted} (this is {have})"]


def _line_unmet(line: str, folder: Path) -> list[str]:
    line = line.split(" #")[0].strip()
    if line.startswith(("-r ", "--requirement ")):
        listed = folder / line.split(maxsplit=1)[1]
        if not listed.is_file():
            return [f"{listed} is missing"]
        return [phrase for inner in _lines(listed) for phrase in _line_unmet(inner, listed.parent)]
    if not line or line.startswith(("#", "-")):
        return []
    if line.startswith((".", "/")):
        return _local_unmet((folder / line.split("[")[0]).resolve())
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return [f"{line!r} (not understood)"]
    if requirement.marker and not requirement.marker.evaluate():
        return []
    try:
        have = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return [f"{requirement.name} is not installed"]
    satisfied = requirement.specifier.contains(have, prereleases=True)
    return [] if satisfied else [f"{requirement} (this has {have})"]


def _local_unmet(folder: Path) -> list[str]:
    """Check a requirement on a source folder: it is satisfied when a package was installed from there."""
    for distribution in metadata.distributions():
        origin = distribution.read_text("direct_url.json") or ""
        if folder.as_uri() in origin:
            return []
    return [f"the package in {folder} is not installed"]


def _lines(file: Path) -> Iterator[str]:
    yield from file.read_text(encoding="utf-8").splitlines()
