"""`state.json`: the state of the whole pipeline in one file. `state.schema.json` beside this module is its schema."""

import json
from pathlib import Path

from mlflow_plugin.reports.models import PipelineState

SCHEMA_FILE = Path(__file__).with_name("state.schema.json")


def state_text(pipeline: PipelineState) -> str:
    """Return the content of `state.json`."""
    return json.dumps(pipeline.to_json(), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
