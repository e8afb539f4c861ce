"""Find the files that describe a project's environment, and digest them."""

import json
import os
import re
from pathlib import Path

import yaml

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest, remembered

_KEYS = ("python_env", "conda_env")
_DEFAULTS = ("python_env.yaml", "conda.yaml")
_REQUIREMENTS = "requirements.txt"
# In a requirements file a line of its own, in an environment file an entry of a list.
_INCLUDED = re.compile(r"(?:^|[\s\[,\"'])(?:-r|--requirement|-c|--constraint)[ =]\s*([^\s\"'#,\]]+)", re.MULTILINE)


def environment_files(project: Path) -> dict[str, str]:
    """Return the name of each environment file of a project -> sha256 of its bytes.

    These are the file that the MLproject file names, else those that MLflow looks for, and the requirements files that
    they include. Without any of them it is `requirements.txt`.
    """
    folder = os.path.abspath(project)
    waiting = [os.path.join(folder, name) for name in _named(folder) or _DEFAULTS]
    found: dict[str, str] = {}
    while waiting or not found:
        if not waiting:
            # Nothing is named: the file that most people install from.
            waiting = [os.path.join(folder, _REQUIREMENTS)]
            if _REQUIREMENTS in found or not os.path.isfile(waiting[0]):
                break
        file = waiting.pop(0)
        name = os.path.relpath(file, folder)
        if name in found or not os.path.isfile(file):
            continue
        try:
            found[name] = file_digest(Path(file))
            waiting += [os.path.join(os.path.dirname(file), one) for one in _included(file)]
        except PhaseError:
            continue
    return dict(sorted(found.items()))


def environment_file(project: Path) -> Path | None:
    """Return the file that MLflow builds the project's environment from, None without one."""
    files = (project / name for name in _named(os.path.abspath(project)) or _DEFAULTS)
    return next((file for file in files if file.is_file()), None)


def _named(folder: str) -> list[str]:
    """The file that the MLproject file names."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower() == "mlproject")
        if not names:
            return []
        text = remembered(Path(folder, names[0]), "environment-keys-1", _read_keys)
    except (OSError, PhaseError):
        return []
    return [str(name) for name in json.loads(text)]


def _read_keys(mlproject: Path) -> str:
    try:
        content = yaml.load(mlproject.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        content = None
    values = [content.get(key) for key in _KEYS] if isinstance(content, dict) else []
    return json.dumps([value for value in values if isinstance(value, str) and "\0" not in value])


def _included(file: str) -> list[str]:
    """The requirements files that a requirements or environment file includes."""

    def read(path: Path) -> str:
        try:
            return json.dumps(_INCLUDED.findall(path.read_text(encoding="utf-8", errors="replace")))
        except OSError:
            return "[]"

    return [name for name in json.loads(remembered(Path(file), "included-requirements-2", read)) if "\0" not in name]
