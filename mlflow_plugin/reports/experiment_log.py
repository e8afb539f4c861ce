"""EXPERIMENT_LOG.md from the tracking store: an entry for each run of a phase that has ended and has none yet."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.facts import superseded_run
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import progress, report_periodically
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.project import LOG_FILE, Project
from mlflow_plugin.reports.entry import entry, has_ended
from mlflow_plugin.reports.log_file import append, logged_runs
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)

_ALL = 50_000
_CLOCKS_MAY_DIFFER = timedelta(seconds=1)


def append_all(history: History, file: Path) -> list[str]:
    """Append an entry for each ended run of the project's phases that the file lacks, oldest first.

    Returns:
        The ids of the runs that got an entry.

    Raises:
        PhaseError: The file cannot be read or written.
    """
    known = logged_runs(file)
    runs: list[PhaseRun] = []
    with report_periodically(lambda: f"reading the runs that have ended ({len(runs):,} so far)"):
        for phase in history.project.phases:
            runs += history.recent(phase, _ALL)
        runs += history.marked(schema.MATRIX, _ALL)  # The sets of runs.
    new = [run for run in runs if has_ended(run) and run.run_id not in known]
    return append(file, entries(history, new, superseded_runs(history)))


def entries(
    history: History, runs: Iterable[PhaseRun], superseded: Mapping[str, list[SupersededRun]]
) -> dict[str, str]:
    """Return the entries of ended runs by run id, oldest first. `superseded` holds the runs that each supersedes."""
    ordered = sorted((run for run in runs if has_ended(run)), key=lambda run: (run.when, run.run_id))
    return {
        run.run_id: entry(history.project.phases.get(run.phase), run, superseded.get(run.run_id, ()))
        for run in progress(ordered, description="writing entries")
    }


def superseded_runs(history: History, by_run_id: str = "") -> dict[str, list[SupersededRun]]:
    """Return the superseded runs by the id of the run that superseded them; those of one run when its id is given."""
    condition = f"= '{by_run_id}'" if by_run_id else "LIKE '%'"
    by_id: dict[str, list[SupersededRun]] = {}
    for run in history.search(f"tags.`{schema.INVALIDATED_BY}` {condition}", _ALL):
        if phase := history.project.phases.get(run.phase):
            by_id.setdefault(run.invalidated_by, []).append(superseded_run(phase, run))
    return by_id


def entries_of(history: History, runs: Iterable[PhaseRun]) -> dict[str, str]:
    """Return the entries of a few runs, each with the runs that it supersedes."""
    listed = list(runs)
    superseded: dict[str, list[SupersededRun]] = {}
    for run in listed:
        if run.complete and not run.reused_run_id:
            superseded |= superseded_runs(history, run.run_id)
    return entries(history, listed, superseded)


@contextmanager
def kept_log(project: Project, client: MlflowClient, experiment_id: str, phase: str) -> Iterator[None]:
    """Append the runs of a phase that begin and end inside the block to the EXPERIMENT_LOG.md of the project's folder.

    Without such a file nothing is done; `mlflow-phases log` makes one. An error is logged and stops nothing.
    """
    began = datetime.now(UTC) - _CLOCKS_MAY_DIFFER
    try:
        yield
    finally:
        if (project.directory / LOG_FILE).is_file():
            history = History(client, experiment_id, project)
            _keep(history, lambda: [run for run in history.recent(phase) if run.started_at >= began])


def keep_entry(project: Project, client: MlflowClient, experiment_id: str, run_id: str) -> None:
    """Append one ended run to the EXPERIMENT_LOG.md of a project's folder, as `kept_log` does."""
    if (project.directory / LOG_FILE).is_file():
        history = History(client, experiment_id, project)
        _keep(history, lambda: list(history.runs([run_id]).values()))


def log_ended(folder: Path, run_id: str) -> None:
    """Append one ended run to the EXPERIMENT_LOG.md of the project in a folder, as `kept_log` does."""
    if (folder / LOG_FILE).is_file():
        client = MlflowClient()
        try:
            history = History(client, client.get_run(run_id).info.experiment_id, load_project(folder))
            _keep(history, lambda: list(history.runs([run_id]).values()))
        except (MlflowException, PhaseError) as error:
            _logger.info(f"the experiment log is not up to date: {error}")


def _keep(history: History, find: Callable[[], list[PhaseRun]]) -> None:
    file = history.project.directory / LOG_FILE
    try:
        known = logged_runs(file)
        append(file, entries_of(history, [run for run in find() if has_ended(run) and run.run_id not in known]))
    except (MlflowException, PhaseError) as error:
        _logger.info(f"the experiment log is not up to date: {error}")
