"""The JSON Schema of `state.json`, made from the models. `python -m mlflow_plugin.reports.state_schema` prints it.

A field may be added while `schema_version` stays. Removing one, or changing its meaning, raises the version.
"""

import json
from typing import Any

from mlflow_plugin.reports.models import PipelineState


def schema_text() -> str:
    """Return the JSON Schema (draft 2020-12) of `state.json`, the content of the installed `state.schema.json`."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **PipelineState.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
