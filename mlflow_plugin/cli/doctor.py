"""What a machine needs for running a project's phases, and which of it is there."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError

_LOW_DISK_GB = 10


@dataclass(frozen=True)
class Finding:
    """One thing looked at. An optional one may be missing."""

    what: str
    sound: bool
    detail: str
    optional: bool = False


def examine(project: str) -> list[Finding]:
    """Looks at everything, whatever the first fault; never raises."""
    return [
        _attempt("project", lambda: _project(project)),
        _attempt("environment", lambda: _environment(project)),
        _attempt("tracking store", _store),
        _attempt("backend", _backend),
        _attempt("hardware", _hardware),
        _attempt("disk", lambda: _disk(project)),
    ]


def _attempt(what: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:
        # A doctor that falls over at the first symptom is of no use.
        return Finding(what, False, " ".join(str(error).split())[:500])


def _project(folder: str) -> Finding:
    from mlflow_plugin.project.mlproject import load_project

    project = load_project(folder)
    if not project.phases:
        raise PhaseError(f"{project.file} declares no phase: add a `phase:` mapping to an entry point")
    return Finding("project", True, f"{project.file}: phases {', '.join(project.phases)}")


def _environment(folder: str) -> Finding:
    from mlflow.projects.utils import load_project

    from mlflow_plugin.backends.environments import choose_env_manager, unmet_requirements

    project = load_project(folder)
    chosen = choose_env_manager(project, None)
    if not project.env_config_path:
        return Finding("environment", True, "the project names none; this one is used")
    name = Path(project.env_config_path).name
    if chosen == "local":
        return Finding("environment", True, f"this environment satisfies {name}")
    unmet = unmet_requirements(Path(project.env_config_path))
    return Finding("environment", True, f"{chosen} will build one for {name}, since here {'; '.join(unmet[:3])}")


def _store() -> Finding:
    from mlflow.tracking import MlflowClient, get_tracking_uri

    MlflowClient().search_experiments(max_results=1)
    return Finding("tracking store", True, f"{get_tracking_uri()} answers")


def _backend() -> Finding:
    from importlib.metadata import entry_points

    sound = any(entry.name == "phases" for entry in entry_points(group="mlflow.project_backend"))
    detail = (
        "`mlflow run -b phases` is there"
        if sound
        else "MLflow does not see `-b phases`: install mlflow-phases with pip"
    )
    return Finding("backend", sound, detail)


def _hardware() -> Finding:
    from mlflow_plugin.format import describe_cost
    from mlflow_plugin.machine.hardware import detect_hardware
    from mlflow_plugin.machine.prices import price_per_hour

    hardware = detect_hardware()
    price = price_per_hour(hardware)
    detail = f"{hardware.describe()}; {describe_cost(price.usd_per_hour)} an hour ({price.source})"
    return Finding("hardware", True, detail)


def _disk(folder: str) -> Finding:
    free = shutil.disk_usage(Path(folder).resolve()).free / 1e9
    return Finding("disk", free > _LOW_DISK_GB, f"{free:.0f} GB free where the project lies", optional=True)
