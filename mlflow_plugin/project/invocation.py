"""How a phase or pipeline was asked for, so that a message can print the exact command to type next."""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Invocation:
    """`mlflow run PROJECT -e ENTRY_POINT -P ...`, with a backend, an experiment and an environment manager when they
    were named.
    """

    project: Path
    entry_point: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    backend: str = ""
    experiment_id: str = ""
    env_manager: str = ""
    typed_elsewhere: bool = False
    """Whether this process is a command of MLflow's local backend, which starts it in the project's folder."""

    def command(self, entry_point: str = "", **parameters: object) -> str:
        """The command line with some parameters set anew; another entry point is called without this one's
        parameters.
        """
        same = not entry_point or entry_point == self.entry_point
        given = {**(self.parameters if same else {}), **parameters}
        words = ["mlflow", "run", self._place(), "-e", entry_point or self.entry_point]
        words += ["-b", self.backend] if self.backend else []
        words += ["--experiment-id", self.experiment_id] if self.experiment_id not in ("", "0") else []
        for name, value in given.items():
            words += ["-P", f"{name}={value}"]
        words += ["--env-manager", self.env_manager] if self.env_manager else []
        return shlex.join(words)

    def _place(self) -> str:
        return _relative(self.project, _callers_folder() if self.typed_elsewhere else Path(os.getcwd()))


def _callers_folder() -> Path | None:
    """Where the person stands who typed `mlflow run`: the folder of the process above MLflow's shell."""
    import psutil

    with suppress(psutil.Error, OSError):
        for ancestor in psutil.Process().parents():
            if ancestor.name() not in ("bash", "sh", "cmd.exe"):
                return Path(ancestor.cwd())
    return None


def env_manager_of(tags: Mapping[str, str]) -> str:
    """What MLflow's local backend was given as `--env-manager`, from the tags of the run that it made: it tags every
    environment that it builds, so none means `local`.
    """
    built = tags.get("mlflow.project.env", "local")
    return "" if built == "docker" else built


def _relative(folder: Path, here: Path | None) -> str:
    if here is None:
        return str(folder)
    return "." if folder == here else str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)
