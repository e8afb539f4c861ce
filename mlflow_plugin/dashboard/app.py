"""`mlflow server --app-name phases`: stock MLflow and the page."""

import os
from typing import Any


def create_app() -> Any:
    """Return the MLflow server with the page, without users. It is ASGI under uvicorn, else WSGI."""
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
