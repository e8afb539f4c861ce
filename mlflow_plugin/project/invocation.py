"""Describe how a phase or pipeline was started, so that a message can print the exact command to type next."""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Invocation:
    """A call of `mlflow run PROJECT -e ENTRY_POINT -P ...`.

    Attributes:
        parameters: The parameters that were given, without those at their default.
        backend, experiment_id, env_manager: Empty when they were not given.
    """

    project: Path
    entry_point: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    backend: str = ""
    experiment_id: str = ""
    env_manager: str = ""
    typed_elsewhere: bool = False
    """True when this process is a command of MLflow's local backend, which starts it in the project's folder."""

    def command(self, entry_point: str = "", **parameters: object) -> str:
        """Return the command line with some parameters replaced.

        Args:
            entry_point: Another entry point. It is called without this one's parameters.
            **parameters: New values.
        """
        same = not entry_point or entry_point == self.entry_point
        given = {**(self.parameters if same else {}), **parameters}
        words = ["mlflow", "run", self._project_argument(), "-e", entry_point or self.entry_point]
        words += ["-b", self.backend] if self.backend else []
        words += ["--experiment-id", self.experiment_id] if self.experiment_id not in ("", "0") else []
        for name, value in given.items():
            words += ["-P", f"{name}={value}"]
        words += ["--env-manager", self.env_manager] if self.env_manager else []
        return shlex.join(words)

    def _project_argument(self) -> str:
        return _relative(self.project, _callers_folder() if self.typed_elsewhere else Path(os.getcwd()))


def _callers_folder() -> Path | None:
    """Return the folder in which `mlflow run` was typed: that of the process above MLflow's shell."""
    import psutil

    with suppress(psutil.Error, OSError):
        for ancestor in psutil.Process().parents():
            if ancestor.name() not in ("bash", "sh", "cmd.exe"):
                return Path(ancestor.cwd())
    return None


def env_manager_of(tags: Mapping[str, str]) -> str:
    """Return the `--env-manager` of a run that MLflow's local backend created, from the run's tags.

    The backend tags every environment that it builds, so a run without that tag used `local`.
    """
    built = tags.get("mlflow.project.env", "local")
    return "" if built == "docker" else built


def _relative(folder: Path, here: Path | None) -> str:
    if here is None:
        return str(folder)
    return "." if folder == here else str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
