"""The checks of `mlflow-phases doctor`: the requirements of a project's phases on this machine."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError

_LOW_DISK_GB = 10


@dataclass(frozen=True)
class Finding:
    """The result of one check. An optional requirement may be missing."""

    name: str
    passed: bool
    detail: str
    optional: bool = False


def run_checks(project: str) -> list[Finding]:
    """Run all checks for the project in a folder. A failed check does not stop the others, and none raises."""
    return [
        _guarded("project", lambda: _project(project)),
        _guarded("environment", lambda: _environment(project)),
        _guarded("tracking store", _store),
        _guarded("backend", _backend),
        _guarded("hardware", _hardware),
        _guarded("disk", lambda: _disk(project)),
    ]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        # The person wants to see all faults at once.
        return Finding(name, False, " ".join(str(error).split())[:500])


def _project(folder: str) -> Finding:
    from mlflow_plugin.project.mlproject import load_project

    project = load_project(folder)
    if not project.phases:
        raise PhaseError(f"{project.file} declares no phase: add a `phase:` mapping to an entry point")
    return Finding("project", True, f"{project.file}: phases {', '.join(project.phases)}")


def _environment(folder: str) -> Finding:
    from mlflow.projects.utils import load_project

    from mlflow_plugin.backends.environments import choose_env_manager
    from mlflow_plugin.machine.requirements import unmet_requirements

    project = load_project(folder)
    manager = choose_env_manager(project, None)
    if not project.env_config_path:
        return Finding("environment", True, "the project names none; it runs in this one")
    name = Path(project.env_config_path).name
    if manager == "local":
        return Finding("environment", True, f"this environment satisfies {name}")
    unmet = unmet_requirements(Path(project.env_config_path))
    return Finding("environment", True, f"{manager} will build one for {name}, since here {'; '.join(unmet[:3])}")


def _store() -> Finding:
    from mlflow.tracking import MlflowClient, get_tracking_uri

    MlflowClient().search_experiments(max_results=1)
    return Finding("tracking store", True, f"{get_tracking_uri()} answers")


def _backend() -> Finding:
    from importlib.metadata import entry_points

    installed = any(entry.name == "phases" for entry in entry_points(group="mlflow.project_backend"))
    detail = (
        "MLflow finds `mlflow run -b phases`"
        if installed
        else "MLflow does not find `-b phases`: install mlflow-phases with pip in this environment"
    )
    return Finding("backend", installed, detail)


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
    return Finding("disk", free > _LOW_DISK_GB, f"{free:.0f} GB free in the folder of the project", optional=True)
