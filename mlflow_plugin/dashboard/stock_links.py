"""A link to the page in MLflow's own pages."""

from typing import Any

from flask import Flask, Response, make_response, request

from mlflow_plugin.dashboard.routes import PAGE

_SCRIPT = f'<script defer src="{PAGE[1:]}/static/stock-links.js"></script>'


def add_links(app: Flask) -> None:
    """Put one script into MLflow's own index page. Where MLflow serves that in another way, there are no links."""
    stock = app.view_functions.get("serve")
    if stock is None:
        return

    def serve(**options: Any) -> Response:
        # A copy in a browser's cache may be older than the link.
        for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE"):
            request.environ.pop(name, None)
        return _linked(make_response(stock(**options)))

    app.view_functions["serve"] = serve


def _linked(response: Response) -> Response:
    if response.status_code != 200 or response.mimetype != "text/html":
        return response
    response.direct_passthrough = False
    # Before MLflow's own scripts, since they read a setting of it when they start.
    before, begin, after = response.get_data(as_text=True).partition("<head>")
    response.set_data(f"{before}{begin}{_SCRIPT if begin else ''}{after}")
    for name in ("ETag", "Last-Modified"):
        response.headers.pop(name, None)
    return response
