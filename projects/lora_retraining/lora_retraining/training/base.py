"""Find the base model of a training and choose its processes, before anything heavy is imported."""

import json
from dataclasses import dataclass
from pathlib import Path

from projects_common.models.headers import read_headers
from projects_common.models.loading import ModelFiles

from lora_retraining.base_model.loading import find_model
from lora_retraining.checks.run import base_facts
from lora_retraining.settings import Settings
from lora_retraining.training.plan import choose_processes
from mlflow_plugin.errors import PhaseError


@dataclass(frozen=True)
class Base:
    """A base model: its name, the same on every machine, and its files."""

    source: str
    files: ModelFiles


def find_base(model: str, preflight: Path, merged: Path | None, merged_by: str = "") -> Base:
    """Find the base model to train on.

    Args:
        model: The model of the settings.
        preflight: The outputs of preflight.
        merged: The merged model of an earlier phase, which then is the base.
        merged_by: The name of that phase.

    Raises:
        PhaseError: Preflight has checked another model.
    """
    checked = json.loads((preflight / "base.json").read_text(encoding="utf-8"))
    if merged is not None:
        return Base(f"{checked['source']} merged by phase {merged_by}", find_model(str(merged)))
    files = find_model(model)
    facts = base_facts(files, read_headers(files.folder))
    # The same model in another folder, or under another name, is the same model.
    if differing := [name for name in facts if name != "source" and checked.get(name) != facts[name]]:
        differences = ", ".join(f"{name} is {facts[name]!r} and was {checked.get(name)!r}" for name in differing)
        raise PhaseError(
            f"this is not the base model that preflight has checked: {differences}. Run preflight with the same model "
            "first: mlflow run . -e preflight -b phases."
        )
    return Base(files.source, files)


def process_count_for(settings: Settings, base: Base) -> int:
    """Return the number of processes to train a base model in. Raise UsageError if a step cannot be divided so."""
    return choose_processes(settings, base.files.config, read_headers(base.files.folder))
