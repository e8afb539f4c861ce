"""What is written on an experiment: its project's declaration, and which run of a phase is the newest usable one."""

import logging

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.execution.experiment_views import page_tags
from mlflow_plugin.project.vocabulary import STORED
from mlflow_plugin.store import schema
from mlflow_plugin.store.declaration import declaration
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import dumps

__all__ = ["declare", "point"]

_logger = logging.getLogger(__name__)


def declare(client: MlflowClient, decision: Decision) -> None:
    """Keep the project's declaration with the experiment, where it has changed.

    The work can do without: a database that cannot hold a tag of this length must not end it.
    """
    request = decision.request
    known = decision.history.experiment_tags()
    # Of a phase of another file the project that asks shows the graph.
    projects = [request.project, *([request.graph] if request.graph else [])]
    tags = {key: text for one in projects for key, text in {**page_tags(one, known), **declaration(one)}.items()}
    try:
        for key, value in sorted(tags.items(), key=lambda tag: len(tag[1])):
            if known.get(key) != value:
                _set(client, request.experiment_id, key, value)
    except MlflowException as error:
        where, why = f"experiment {request.experiment_id}", " ".join(str(error).split())[:200]
        _logger.warning(f"the declaration of {request.project.name} could not be recorded in {where} ({why})")


def point(client: MlflowClient, request: Request, run_id: str, grade: str, before: PhaseRun | None) -> bool:
    """Move the experiment's pointer to the phase's newest usable run; return False when the run is not good enough.

    It is written before the completion marker: a pointer to an incomplete run is passed over, whereas a complete
    run without a pointer would be seen only by a search.
    """
    if grade not in ("good", "accepted") and (grade != "borderline" or before is not None):
        return False
    if request.phase.member:  # The latest of a phase with a matrix is a set of runs.
        return True
    key = schema.LATEST + schema.phase_key(request.project.name, request.phase.name)
    content = {"phase": request.phase.name, "run_id": run_id, "grade": STORED.get(grade, grade)}
    _set(client, request.experiment_id, key, dumps(content))
    return True


def _set(client: MlflowClient, experiment_id: str, key: str, value: str) -> None:
    """Set a tag. Of two processes that make the same tag at once, MLflow refuses one; it is there the second time."""
    try:
        client.set_experiment_tag(experiment_id, key, value)
    except MlflowException:
        if key not in client.get_experiment(experiment_id).tags:
            raise
        client.set_experiment_tag(experiment_id, key, value)
