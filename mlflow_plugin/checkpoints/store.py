"""Checkpoints as artifacts of a run: `checkpoints/step-000100/` with its manifest written last; read only when it
verifies.
"""

import re
import tempfile
from contextlib import suppress
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from mlflow_plugin import names
from mlflow_plugin.artifacts import listing
from mlflow_plugin.checkpoints.state import load_state, save_state
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.manifest import Manifest
from mlflow_plugin.runs import PhaseRun

_NAME = re.compile(r"step-(\d{6,})")


def checkpoint_name(step: int) -> str:
    """`step-000100`; numbers above six digits simply grow, since they are compared as numbers."""
    return f"step-{step:06d}"


def write_checkpoint(client: MlflowClient, run_id: str, step: int, state: object, metrics: dict[str, float]) -> str:
    """Saves a state (any nesting of tensors and plain values) as an artifact; returns its name once the store holds
    it whole.

    Raises PhaseError when something in the state cannot be saved.
    """
    name = checkpoint_name(step)
    where = f"{names.CHECKPOINTS_FOLDER}/{name}"
    with tempfile.TemporaryDirectory() as folder:
        save_state(state, Path(folder))
        found = Manifest.of(Path(folder))
        manifest = Manifest(found.files, step=step, metrics=metrics)
        client.log_artifacts(run_id, folder, where)
        client.log_text(run_id, manifest.to_json(), f"{where}/{names.MANIFEST_FILE}")
    return name


def newest_sound(run: PhaseRun) -> tuple[int, object, list[str]] | None:
    """(step, state, what was passed over and why) of the newest checkpoint that verifies, or None when there is
    none.
    """
    steps = {
        int(match[1])
        for path in listing(run.artifact_uri, names.CHECKPOINTS_FOLDER)
        if (match := _NAME.fullmatch(path.split("/", 1)[0]))
    }
    skipped: list[str] = []
    for step in sorted(steps, reverse=True):
        with tempfile.TemporaryDirectory() as folder, suppress(MlflowException):
            where = f"{names.CHECKPOINTS_FOLDER}/{checkpoint_name(step)}"
            found = Path(get_artifact_repository(run.artifact_uri).download_artifacts(where, folder))
            try:
                manifest = Manifest.from_json((found / names.MANIFEST_FILE).read_text(encoding="utf-8"))
                faults = manifest.verify(found)
                if not faults:
                    return step, load_state(found), skipped
            except (OSError, PhaseError) as error:
                faults = [str(error)]
            skipped.append(f"{checkpoint_name(step)}: {faults[0]}")
    return None
