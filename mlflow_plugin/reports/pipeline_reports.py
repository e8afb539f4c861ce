"""What a pipeline's run keeps of itself when it ends: the state of the project, the entries of its runs, the report."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.execution.records import Records
from mlflow_plugin.progress import report_periodically
from mlflow_plugin.project.project import LOG_FILE, Phase, Project
from mlflow_plugin.reports.experiment_log import entries_of
from mlflow_plugin.reports.log_file import HEADING
from mlflow_plugin.reports.state_file import state_text
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)

_RUNS_IN_REPORT = 100
_NEWEST = 5


@contextmanager
def kept_reports(
    project: Project,
    client: MlflowClient,
    experiment_id: str,
    parent_run_id: str,
    phases: Sequence[Phase],
    done: Mapping[str, str],
) -> Iterator[None]:
    """Keeps the reports on a pipeline's run when the block ends, however it does. Trouble with them is told and changes
    nothing else. Where nothing was computed, or somebody waits for the end, the report itself is left out.

    `done` holds the run id of each phase that has been carried out by then.
    """
    hurried = True
    try:
        yield
        hurried = False
    except Exception:
        hurried = False
        raise
    finally:
        history = History(client, experiment_id, project)
        try:
            with report_periodically(lambda: "writing the reports"):
                own = _own_runs(history, parent_run_id, phases, done)
                _keep(history, parent_run_id, own, hurried)
        except Exception as error:  # Whatever is wrong with a report, the pipeline has ended as it has.
            _logger.info(f"the reports are missing on run {parent_run_id}: {type(error).__name__}: {error}")


def _own_runs(history: History, parent_run_id: str, phases: Sequence[Phase], done: Mapping[str, str]) -> list[PhaseRun]:
    """The runs of a pipeline's phases, with that of the phase that it ended at."""
    found = list(history.runs(done.values()).values())
    ended_at = next((phase for phase in phases if phase.name not in done), None)
    recent = history.recent(ended_at.name, _NEWEST) if ended_at else []
    return [*found, *(run for run in recent if run.parent_run_id == parent_run_id)]


def _keep(history: History, parent_run_id: str, own: Sequence[PhaseRun], hurried: bool) -> None:
    pipeline = pipeline_view(history)
    texts: dict[str, Callable[[], str]] = {
        schema.STATE_FILE: lambda: state_text(pipeline),
        LOG_FILE: lambda: log_text(history, own),
    }
    if not hurried and any(not run.reused_run_id for run in own):
        from mlflow_plugin.reports.html_report import report_html
        from mlflow_plugin.reports.views.accounts import WITHIN_SECONDS

        texts[schema.REPORT_FILE] = lambda: report_html(history, pipeline, _RUNS_IN_REPORT, WITHIN_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text(), encoding="utf-8")
        Records(history.client).keep_reports(parent_run_id, folder)


def log_text(history: History, runs: Iterable[PhaseRun]) -> str:
    """The entries of these runs as a log of their own."""
    return "\n".join([HEADING, *entries_of(history, runs).values()])
