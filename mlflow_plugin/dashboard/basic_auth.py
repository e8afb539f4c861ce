"""`mlflow server --app-name phases-basic-auth`: MLflow with users, and the page for its users.

Importing this module prepares basic-auth. `mlflow server` does so for its own app only, by name; it imports this module
once before it starts its workers, and they get the environment that is set here. So a missing setting ends the command
with one error, and the workers do not race for making the database of users.
"""

import os
import secrets
from typing import Any

from mlflow.exceptions import MlflowException

_PREPARED = "_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED"
_JOBS_TOKEN = "_MLFLOW_INTERNAL_GATEWAY_AUTH_TOKEN"


def _prepare() -> None:
    if os.environ.get(_PREPARED) == "true":
        return
    try:
        from mlflow.environment_variables import MLFLOW_SERVER_ENABLE_JOB_EXECUTION

        from mlflow_plugin.dashboard.store import bootstrap_basic_auth

        bootstrap_basic_auth()
    except ImportError as error:
        raise MlflowException(
            f"MLflow's basic-auth cannot be used: {error}. Install what it needs: pip install 'mlflow-phases[auth]'."
        ) from error
    os.environ[_PREPARED] = "true"
    if MLFLOW_SERVER_ENABLE_JOB_EXECUTION.get():
        os.environ.setdefault(_JOBS_TOKEN, secrets.token_hex(32))


_prepare()


def create_app() -> Any:
    """Return the server. Raises MlflowException when MLflow's basic-auth works in a way that is not known here."""
    from mlflow.server import app as flask_app
    from mlflow.server import auth

    from mlflow_plugin.dashboard.access import BasicAuthAccess, guard
    from mlflow_plugin.dashboard.routes import blueprint, data_rules, page_rules
    from mlflow_plugin.dashboard.stock_links import add_links

    flask_app.register_blueprint(blueprint(BasicAuthAccess))
    add_links(flask_app)
    created = auth.create_app(flask_app)
    guard(flask_app, [*page_rules(), *data_rules()])
    return created
