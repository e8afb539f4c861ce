"""The page and its data, as routes of MLflow's own Flask application. All data is JSON, and so is every error."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, redirect, request, send_from_directory
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.tracking import MlflowClient

from mlflow_plugin.dashboard.access import Access, forbidden
from mlflow_plugin.dashboard.store import ReadableClient, read_artifact, serves_artifacts_only, with_static_prefix
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.execution.answers import NoLongerWaits, StillOpen, answer
from mlflow_plugin.project.project import Project
from mlflow_plugin.reports import models
from mlflow_plugin.store.declaration import declared_projects
from mlflow_plugin.store.history import History, phase_run
from mlflow_plugin.store.run import PhaseRun

PAGE = "/phases"
DATA = "/ajax-api/3.0/mlflow/phases"
STATIC = Path(__file__).parent / "static"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LARGEST_BODY = 10_000
_MOST_RUNS = 5_000
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_logger = logging.getLogger(__name__)


def page_rules() -> list[tuple[str, str]]:
    """Return the routes of the page and its files, as (path, method). Every user of the server may read them."""
    files = [f"{PAGE}/static/{file.relative_to(STATIC).as_posix()}" for file in STATIC.rglob("*") if file.is_file()]
    return [(with_static_prefix(path), method) for path in (PAGE, f"{PAGE}/", *files) for method in _READING]


def data_rules() -> list[tuple[str, str]]:
    """Return the routes that read and write the store, as (path, method)."""
    reads = [(name, method) for name in _VIEWS for method in _READING]
    return [(with_static_prefix(f"{DATA}/{name}"), method) for name, method in (*reads, ("answer", "POST"))]


def blueprint(access_of_request: Callable[[], Access]) -> Blueprint:
    """Return the page's routes below the server's static prefix.

    Args:
        access_of_request: Returns the permissions of the present request's sender; raises MlflowException for a sender
            that is not known.
    """
    made = Blueprint("mlflow_phases", __name__, url_prefix=with_static_prefix("") or None)

    def known(view: Callable[..., Response]) -> Callable[..., Response]:
        @wraps(view)
        def guarded(**parts: str) -> Response:
            try:
                if serves_artifacts_only():
                    return _error("FEATURE_DISABLED", "This server holds artifacts only and no runs.", 503)
                return view(access_of_request(), **parts)
            except Exception as error:
                return _trouble(error)

        return guarded

    made.add_url_rule(PAGE, "page", known(_page))
    made.add_url_rule(f"{PAGE}/", "page_with_slash", known(_page_with_slash))
    made.add_url_rule(f"{PAGE}/static/<path:name>", "static", known(_static))
    for name, view in _VIEWS.items():
        made.add_url_rule(f"{DATA}/{name}", name, known(view))
    made.add_url_rule(f"{DATA}/answer", "answer", known(_answer), methods=["POST"])
    made.after_request(_secure)
    return made


def _secure(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response


# --- the page and its files ---


def _page(access: Access) -> Response:
    return _file("index.html")


def _page_with_slash(access: Access) -> Response:
    # With the slash, relative addresses in the page would be wrong. The target is relative: a proxy may have moved it.
    return redirect(f"../{PAGE.strip('/')}")  # type: ignore[return-value]


def _static(access: Access, name: str) -> Response:
    return _file(name)


def _file(name: str) -> Response:
    response = send_from_directory(STATIC, name)
    # The browser keeps it and asks at each use for a newer one, so an upgrade is seen at once.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


# --- the data ---


def _experiments(access: Access) -> Response:
    # Few experiments hold phases, and checking a permission takes longer than reading an experiment's tags.
    experiments: list[models.ExperimentWithPhases] = []
    token, client = None, ReadableClient(lambda experiment_id: True)
    while True:
        part = client.search_experiments(ViewType.ACTIVE_ONLY, max_results=1000, page_token=token)
        for experiment in part:
            projects = list(declared_projects(experiment.tags))
            if projects and access.may_read(experiment.experiment_id):
                experiments.append(
                    models.ExperimentWithPhases(
                        experiment_id=experiment.experiment_id, name=experiment.name, projects=projects
                    )
                )
        if not (token := part.token):
            return _json(models.Experiments(experiments=experiments))


def _find(access: Access) -> Response:
    """Find the place of a run. A run of no phase, such as a pipeline's, belongs to the experiment's first project."""
    client = ReadableClient(access.may_read)
    run = _run(client, _argument("run_id"))
    projects = declared_projects(client.get_experiment(run.experiment_id).tags)
    project = run.project or next(iter(projects), "")
    if not project:
        raise MlflowException(f"Run {run.run_id} belongs to an experiment without phases.", RESOURCE_DOES_NOT_EXIST)
    return _json(models.RunPlace(experiment_id=run.experiment_id, project=project, phase=run.phase or None))


def _pipeline(access: Access) -> Response:
    from mlflow_plugin.reports.views.live import stamp
    from mlflow_plugin.reports.views.pipeline import pipeline_view

    history, projects = _history(access)
    may_answer = access.may_answer(history.experiment_id)
    viewer = models.Viewer(projects=projects, may_answer=may_answer, user=access.user).to_json()
    seen = json.dumps([viewer, history.project.name, stamp(history)], sort_keys=True)
    tag = hashlib.sha256(seen.encode()).hexdigest()[:32]
    if request.if_none_match.contains_weak(tag):
        response = Response(status=HTTPStatus.NOT_MODIFIED)
    else:
        response = _json({**pipeline_view(history).to_json(), **viewer})
    # Weak: ages and rates change between two answers of one tag.
    response.set_etag(tag, weak=True)
    return response


def _runs(access: Access) -> Response:
    from mlflow_plugin.reports.views.phase_runs import phase_runs_view

    history, _ = _history(access)
    phase = _argument("phase")
    if phase not in history.project.phases:
        known = ", ".join(history.project.phases)
        raise UsageError(f"project {history.project.name} has no phase {phase!r}. Its phases: {known}.")
    at_most = request.args.get("at_most", "500")
    if not _NUMBER.fullmatch(at_most) or not 0 < int(at_most) <= _MOST_RUNS:
        raise UsageError(f"at_most={at_most:.20}: give a number from 1 to {_MOST_RUNS}.")
    return _json(phase_runs_view(history, phase, int(at_most)))


def _accounts(access: Access) -> Response:
    from mlflow_plugin.reports.views.accounts import ALL_WITHIN_SECONDS, WITHIN_SECONDS, accounts_view

    within = ALL_WITHIN_SECONDS if request.args.get("all") == "1" else WITHIN_SECONDS
    return _json(accounts_view(_history(access)[0], within))


def _recoverable(access: Access) -> Response:
    from mlflow_plugin.reports.views.recoverable import recoverable_view

    return _json(recoverable_view(_history(access)[0]))


def _live(access: Access) -> Response:
    from mlflow_plugin.reports.views.live import live_view

    return _json(live_view(_history(access)[0]))


def _compare(access: Access) -> Response:
    from mlflow_plugin.reports.views.compare import compare_view

    history, _ = _history(access)
    left, right = (_run(history.client, _argument(side)) for side in ("left", "right"))
    for run in (left, right):
        if not run.phase:
            raise UsageError(f"Run {run.run_id} is not a run of a phase.")
    return _json(compare_view(history, left.run_id, right.run_id, read_artifact))


def _answer(access: Access) -> Response:
    # A page of another site can send a form or plain text, never JSON; and the browser names the site.
    if request.mimetype != "application/json":
        return _error("INVALID_PARAMETER_VALUE", "Send JSON, with Content-Type: application/json.", 415)
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return _error("PERMISSION_DENIED", "Only this server's own page may send answers.", 403)
    sent = _body()
    if not isinstance(sent, dict) or not all(isinstance(sent.get(key), str) for key in ("run_id", "letter")):
        raise UsageError('send {"run_id": "...", "letter": "A", "asked_at": "..."}.')
    client = ReadableClient(access.may_read)
    run = _run(client, sent["run_id"])
    if not access.may_answer(run.experiment_id):
        raise forbidden(f"answer for runs of experiment {run.experiment_id}")
    by = access.user or f"somebody at {request.remote_addr or 'an unknown address'}, on the page"
    try:
        result = answer(client, run.run_id, sent["letter"], by, str(sent.get("asked_at") or ""))
    except NoLongerWaits as error:
        return _json({"error_code": "INVALID_STATE", "message": str(error), "command": error.command}, HTTPStatus.GONE)
    return _json(result.to_dict(), HTTPStatus.OK if result.counted else HTTPStatus.CONFLICT)


def _body() -> Any:
    """Return the JSON of the request; None when it is invalid, too large, or without a length."""
    if not 0 < (request.content_length or 0) <= _LARGEST_BODY:
        return None
    with suppress(RecursionError):
        return request.get_json(silent=True)
    return None


_READING = ("GET", "HEAD")
_VIEWS: Mapping[str, Callable[[Access], Response]] = {
    "experiments": _experiments,
    "find": _find,
    "pipeline": _pipeline,
    "runs": _runs,
    "accounts": _accounts,
    "recoverable": _recoverable,
    "live": _live,
    "compare": _compare,
}


# --- what they share ---


def _argument(name: str) -> str:
    if value := request.args.get(name, ""):
        return value
    raise UsageError(f"the argument {name} is missing.")


def _history(access: Access) -> tuple[History, list[str]]:
    """Return the history that the request names, and the names of all projects of the experiment."""
    experiment_id = _argument("experiment_id")
    # A store takes 01 for 1, but the permissions of 01 are not those of 1.
    if not _NUMBER.fullmatch(experiment_id):
        raise UsageError(f"Invalid experiment ID {experiment_id[:40]!r}. Experiment ID must be a valid integer.")
    if not access.may_read(experiment_id):
        raise forbidden(f"see experiment {experiment_id}")
    client = ReadableClient(access.may_read)
    experiment = client.get_experiment(experiment_id)
    if experiment.lifecycle_stage != "active":
        raise MlflowException(f"Experiment {experiment_id} was deleted.", RESOURCE_DOES_NOT_EXIST)
    projects = declared_projects(experiment.tags)
    return History(client, experiment_id, _chosen(projects, experiment_id)), list(projects)


def _chosen(projects: Mapping[str, Project], experiment_id: str) -> Project:
    name = request.args.get("project") or next(iter(projects), "")
    if project := projects.get(name):
        return project
    if projects:
        raise MlflowException(
            f"Experiment {experiment_id} has no project {name!r}, only {', '.join(projects)}.", RESOURCE_DOES_NOT_EXIST
        )
    raise MlflowException(
        f"Experiment {experiment_id} has no phases. Start one in it, for example with "
        "`mlflow run . -e PHASE -b phases`.",
        RESOURCE_DOES_NOT_EXIST,
    )


def _run(client: MlflowClient, run_id: str) -> PhaseRun:
    """Return a run that may be read."""
    run = client.get_run(run_id)
    if run.info.lifecycle_stage != "active":
        raise MlflowException(f"Run {run_id} was deleted.", RESOURCE_DOES_NOT_EXIST)
    return phase_run(run)


def _json(content: models.Fields | Mapping[str, Any], status: int = HTTPStatus.OK) -> Response:
    plain = content.to_json() if isinstance(content, models.Fields) else content
    text = json.dumps(plain, separators=(",", ":"), allow_nan=False)
    return Response(text, status, mimetype="application/json")


def _error(code: str, message: str, status: int) -> Response:
    return _json({"error_code": code, "message": message}, status)


def _trouble(error: Exception) -> Response:
    """Return an error in the form of MLflow's own, without details of the server."""
    from werkzeug.exceptions import HTTPException

    if isinstance(error, StillOpen):
        return _error("TEMPORARILY_UNAVAILABLE", str(error), 503)
    if isinstance(error, PhaseError):
        return _error("INVALID_PARAMETER_VALUE", str(error), 400)
    if isinstance(error, HTTPException):
        return _error(error.name.upper().replace(" ", "_"), error.description or error.name, error.code or 500)
    if isinstance(error, MlflowException) and (status := error.get_http_status_code()) < 500:
        return _error(error.error_code, error.message, status)
    _logger.exception("%s %s", request.method, request.path)
    if isinstance(error, MlflowException):
        away = "The tracking store does not answer correctly. Try again; the server's log has the details."
        return _error("TEMPORARILY_UNAVAILABLE", away, 503)
    return _error("INTERNAL_ERROR", "mlflow-phases failed; the server's log has the details.", 500)
