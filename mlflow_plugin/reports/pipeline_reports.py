"""The reports on a pipeline's run when it ends: the state of the project, the entries of its runs, the HTML report."""

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
    """Keep the reports on a pipeline's run when the block ends, also with an error.

    An error with a report is logged and changes nothing else. The HTML report is left out where nothing was computed
    and where the pipeline was told to stop.

    Args:
        project: The project.
        client: The tracking store.
        experiment_id: The experiment.
        parent_run_id: The pipeline's run.
        phases: The pipeline's phases in order.
        done: The run id of each phase that has been executed by then; filled by the caller during the block.
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
        except Exception as error:  # An error with a report must not change the result of the pipeline.
            _logger.info(f"the reports are missing on run {parent_run_id}: {type(error).__name__}: {error}")


def _own_runs(history: History, parent_run_id: str, phases: Sequence[Phase], done: Mapping[str, str]) -> list[PhaseRun]:
    """Return the runs of a pipeline's phases, with the run of the phase that it ended at."""
    runs = list(history.runs(done.values()).values())
    ended_at = next((phase for phase in phases if phase.name not in done), None)
    recent = history.recent(ended_at.name, _NEWEST) if ended_at else []
    return [*runs, *(run for run in recent if run.parent_run_id == parent_run_id)]


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
    """Return the entries of these runs as a log of their own."""
    return "\n".join([HEADING, *entries_of(history, runs).values()])
