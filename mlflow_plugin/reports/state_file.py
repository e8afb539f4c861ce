"""`state.json`: the state of the whole pipeline in one file. `state.schema.json` beside this module is its schema."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCHEMA_FILE = Path(__file__).with_name("state.schema.json")


def state_text(pipeline: Mapping[str, Any]) -> str:
    """A `pipeline_view` as the content of `state.json`."""
    return json.dumps(pipeline, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
