"""Whether an adapter lies in the way of the base model."""

import json
from pathlib import Path

from retraining.checks.checklist import Check
from retraining.checks.quantised_names import quantised_settings

_FILE = "adapter_config.json"


def check_adapter(folder: Path) -> Check:
    """An adapter_config.json in the model's folder makes transformers load another base: the one that it names."""
    file = folder / _FILE
    if not file.is_file():
        return Check("adapter", "pass", f"there is no {_FILE}: training starts from the base itself")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Check("adapter", "fail", f"{file} cannot be read: {error}", "Remove it, or merge the adapter first.")
    quantised = "; ".join(quantised_settings(config))
    if quantised:
        remedy = "It was trained against a quantised base. Train anew from the base in full precision."
        return Check("adapter", "fail", f"{file} was trained on {base!r} ({quantised})", remedy)
    remedy = f"Merge it into {base!r} first, and train on the merged model; or remove it."
    return Check("adapter", "fail", f"{file} would load its base {base!r} in place of this model", remedy)
