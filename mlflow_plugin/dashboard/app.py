"""`mlflow server --app-name phases` and `phases-basic-auth`: stock MLflow and the page."""

import os
from typing import Any


def create_app() -> Any:
    """The MLflow server with the page, open to everybody who reaches it. ASGI under uvicorn, else WSGI."""
    from mlflow.server import app as flask_app

    from mlflow_plugin.dashboard.access import OpenAccess
    from mlflow_plugin.dashboard.routes import blueprint
    from mlflow_plugin.dashboard.stock_links import add_links

    flask_app.register_blueprint(blueprint(OpenAccess))
    add_links(flask_app)
    if os.environ.get("_MLFLOW_SGI_NAME") in ("gunicorn", "waitress"):
        return flask_app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(flask_app)


def create_basic_auth_app() -> Any:
    """The MLflow server with users, and the page for those whom MLflow lets in. Raises MlflowException when MLflow's
    basic-auth is not set up, or is not one whose gate is known here.
    """
    from mlflow.server import app as flask_app
    from mlflow.server import auth

    from mlflow_plugin.dashboard.access import BasicAuthAccess, guard
    from mlflow_plugin.dashboard.routes import blueprint, data_rules, page_rules
    from mlflow_plugin.dashboard.stock_links import add_links

    flask_app.register_blueprint(blueprint(BasicAuthAccess))
    add_links(flask_app)
    created = auth.create_app(flask_app)
    guard(flask_app, [*page_rules(), *data_rules()], _sender_is_known)
    return created


def _sender_is_known() -> bool:
    return True
