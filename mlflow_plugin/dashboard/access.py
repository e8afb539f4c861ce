"""Permissions on the page: everything on an open server; with basic-auth, those of MLflow itself."""

import logging
from functools import cached_property
from typing import Protocol

from flask import Flask, g, request
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, UNAUTHENTICATED
from werkzeug.datastructures import Authorization

from mlflow_plugin.dashboard.store import has_known_gate, validator_of

_logger = logging.getLogger(__name__)


class Access(Protocol):
    """The permissions of one request's sender. Raises MlflowException (401) for a sender that is not known."""

    user: str | None

    def may_read(self, experiment_id: str) -> bool:
        """Return True when the runs of an experiment may be shown."""

    def may_answer(self, experiment_id: str) -> bool:
        """Return True when questions of an experiment's runs may be answered."""


class OpenAccess:
    """Permit everything: on a server without users, MLflow itself does."""

    user: str | None = None

    def may_read(self, experiment_id: str) -> bool:
        return True

    def may_answer(self, experiment_id: str) -> bool:
        return True


class BasicAuthAccess:
    """Permit the actions that a user of `mlflow server --app-name phases-basic-auth` may do; in doubt, refuse."""

    def __init__(self) -> None:
        self.user: str | None = _authenticated_user()
        self._decided: dict[tuple[str, str], bool] = {}

    def may_read(self, experiment_id: str) -> bool:
        return self._may("read", experiment_id)

    def may_answer(self, experiment_id: str) -> bool:
        return self._may("update", experiment_id)

    def _may(self, action: str, experiment_id: str) -> bool:
        key = (action, experiment_id)
        if key not in self._decided:
            self._decided[key] = self._is_admin or _authorized(self.user or "", action, experiment_id)
        return self._decided[key]

    @cached_property
    def _is_admin(self) -> bool:
        from mlflow.server import auth

        return bool(auth.store.get_user(self.user or "").is_admin)


def _authenticated_user() -> str:
    # MLflow's hook has checked the password already; to check it again would cost a tenth of a second.
    if user := g.get("mlflow_authenticated_user"):
        return str(user)
    from mlflow.server import auth

    credentials = auth.authenticate_request()
    if isinstance(credentials, Authorization) and credentials.username:
        return str(credentials.username)
    raise MlflowException("Sign in first: this server has users.", UNAUTHENTICATED)


def _authorized(user: str, action: str, experiment_id: str) -> bool:
    """Return MLflow's own decision about reading or changing the runs of an experiment."""
    try:
        from mlflow.server.auth import authorize
        from mlflow.server.auth.permissions import RESOURCE_TYPE_EXPERIMENT, RESOURCE_TYPE_RUN
        from mlflow.server.auth.requirements import Requirement

        experiment = (RESOURCE_TYPE_EXPERIMENT, experiment_id)
        runs = Requirement(RESOURCE_TYPE_RUN, "*", action, fallback_if_no_grant=(experiment,))
        return bool(authorize(user, experiment, [Requirement(*experiment, "read"), runs]))
    except (ImportError, AttributeError, TypeError):
        _logger.exception("This MLflow decides about permissions in a way that mlflow-phases does not know: refused")
        return False


def guard(app: Flask, rules: list[tuple[str, str]]) -> None:
    """Register the page's routes with the check that MLflow's basic-auth does before each request.

    A route that MLflow does not know is open to every user, or closed to all but administrators, depending on
    MLFLOW_BASIC_AUTH_FAIL_CLOSED.

    Args:
        app: The server.
        rules: The routes as (path, method).

    Raises:
        MlflowException: This MLflow has no such check. The server does not start then, rather than start unguarded.
    """
    from mlflow.server import auth

    if not has_known_gate(app):
        raise MlflowException("This MLflow's basic-auth is not one that mlflow-phases knows, so the page is disabled.")
    auth.BEFORE_REQUEST_VALIDATORS.update(dict.fromkeys(rules, _at_the_gate))
    for path, method in rules:
        with app.test_request_context(path, method=method) as context:
            if validator_of(context.request) is not _at_the_gate or auth.is_unprotected_route(path):
                raise MlflowException(f"This MLflow's basic-auth would leave {method} {path} without a guard.")


def _at_the_gate() -> bool:
    """Let signed-in users pass to the page, and to an experiment that they may read.

    The routes check the permissions of runs themselves, since only they have read them.
    """
    experiment_id = request.args.get("experiment_id", "")
    if experiment_id and not BasicAuthAccess().may_read(experiment_id):
        raise forbidden(f"see experiment {experiment_id}")  # MLflow's hook sends it as JSON.
    return True


def forbidden(what: str) -> MlflowException:
    return MlflowException(
        f"You may not {what}. Ask the administrator of this server for the permission.", PERMISSION_DENIED
    )
