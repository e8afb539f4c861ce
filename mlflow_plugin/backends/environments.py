"""Choose the environment of a phase's process: this one when it satisfies the project, else conda, else uv."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import yaml
from mlflow.projects import env_type
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine import environment_facts as environment_facts_module
from mlflow_plugin.machine.environment_facts import environment_facts
from mlflow_plugin.store.mlflow_internals import MlflowProject

# What MLflow puts before a command to activate the environment that it has built.
_ACTIVATION = re.compile(
    r"(?:source \S+/bin/activate|(?:source \S+ && )?conda activate \S+(?: 1>&2)?|source \S+ \S+ 1>&2) && "
)
_FACTS_SCRIPT = Path(environment_facts_module.__file__)
_ASK_SECONDS = 60.0
_NO_INPUT = subprocess.DEVNULL


def choose_env_manager(project: MlflowProject, named: str | None) -> str:
    """Return the MLflow environment manager to use; one that the caller named is taken as it is.

    Raises:
        PhaseError: This environment does not satisfy the project, and neither conda nor uv is there to build one.
    """
    if named:
        return named
    if project.env_type == env_type.DOCKER or not project.env_config_path:
        return "local"
    unmet = unmet_requirements(Path(project.env_config_path))
    if not unmet:
        return "local"
    if project.env_type == env_type.CONDA and (os.environ.get("MLFLOW_CONDA_HOME") or shutil.which("conda")):
        return "conda"
    if shutil.which("uv"):
        return "uv"
    raise PhaseError(
        f"{project.env_config_path}: this environment ({sys.prefix}) does not satisfy it: {'; '.join(unmet[:5])}. "
        "Install what is missing, or install conda or uv to have an environment built, or name one with --env-manager."
    )


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


def facts_of_environment(manager: str, command: str) -> dict[str, object]:
    """Return the facts of the environment that a command runs in.

    For the manager `local` that is this one, else the one that MLflow activates at the beginning of the command: its
    own interpreter is asked, which takes seconds with conda.

    Raises:
        PhaseError: They cannot be found out, as for a container.
    """
    if command.startswith("docker run "):
        raise PhaseError("it is computed in a container")
    if manager == "local":
        return environment_facts()
    activation = _ACTIVATION.match(command)
    if activation is None:
        raise PhaseError("its command does not say in which environment it runs")
    ask = ["bash", "-c", f"{activation[0]}python -I {shlex.quote(str(_FACTS_SCRIPT))}"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True, stdin=_NO_INPUT)
        return dict(json.loads(answer.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        raise PhaseError(f"its interpreter does not say: {error}") from None
