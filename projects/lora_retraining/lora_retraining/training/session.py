"""Train an adapter on a base model with rows, and describe the training: phases `train` and `train_1b`."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projects_common.models.devices import choose_device
from projects_common.models.loading import load_tokenizer
from transformers import set_seed

from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import precision_of
from lora_retraining.data.chat import encode_rows
from lora_retraining.settings import AUTO, Settings
from lora_retraining.training.adapter import add_adapter, load_base, save_adapter
from lora_retraining.training.base import Base
from lora_retraining.training.loop import Log, RunTrainer, train_adapter
from lora_retraining.training.plan import divided, own_device
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.format import describe_duration
from mlflow_plugin.machine.ranks import process_count
from mlflow_plugin.machine.threads import leave_busy_cores_alone

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A trained adapter.

    Attributes:
        figures: The content of training.json: the same for the same training, without times.
        seconds: Duration of the training itself.
        base: Source, revision, digest and dtype of the base model.
    """

    model: Any
    tokenizer: Any
    base: Mapping[str, Any]
    figures: Mapping[str, Any]
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """Return the losses on the same rows before and after the training, and their ratio."""
        return {name: self.figures[name] for name in ("loss_before", "loss_after", "loss_ratio")}

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter, its tokenizer and base.json."""
        save_adapter(self.model, self.tokenizer, self.base, folder)

    def save_figures(self, file: Path) -> None:
        """Write training.json."""
        file.write_text(json.dumps(self.figures, indent=2, sort_keys=True) + "\n")

    def description(self) -> str:
        """Describe the training for the run's page, as Markdown."""
        figures, halved = self.figures, ""
        if figures["batch_size_used"] != figures["batch_size"]:
            halved = f" Memory sufficed for batches of {figures['batch_size_used']} instead of {figures['batch_size']}."
        return (
            f"An adapter of rank {figures['rank']} ({figures['trained_parameters']:,} parameters) for "
            f"{self.base['source']}, trained on {figures['rows']:,} rows in {figures['steps']:,} steps "
            f"({figures['packing']} rows, {figures['tokens']:,} tokens an epoch, {figures['supervised_tokens']:,} of "
            f"them learnt).{halved}\n\nLoss on the same rows: {figures['loss_before']:.4g} before, "
            f"{figures['loss_after']:.4g} after."
        )

    def against_estimate(self, expected: float | None) -> dict[str, float]:
        """Compare the duration with the seconds that preflight expected; return the metrics, none without them."""
        if not expected:
            return {}
        _logger.info(
            f"training took {describe_duration(self.seconds)}; preflight expected {describe_duration(expected)}"
        )
        return {"training_seconds_over_estimate": self.seconds / expected}


def train(settings: Settings, base: Base, rows: Path, run: RunTrainer, log: Log, *, resumed: bool) -> Trained:
    """Train an adapter for a base model.

    Args:
        settings: With the batch size and accumulation of a whole step.
        base: The model to train on.
        rows: A file with one row `{"id", "messages"}` a line.
        run: Runs the Trainer, from a checkpoint if there is one.
        log: Logs metrics at a step.
        resumed: A checkpoint of an interrupted run exists.

    Raises:
        PhaseError: There is nothing to learn, the model does not fit into memory, or the training breaks.
    """
    settings = divided(settings, process_count())
    digest = weights_digest(base.files.folder)
    tokenizer = load_tokenizer(base.files)
    encoded = encode_rows(tokenizer, _read_rows(rows), settings.max_length)
    if not encoded.rows:
        raise PhaseError(f"no row has an answer within max_length={settings.max_length} tokens; raise it.")
    device = choose_device(own_device(settings))
    if device.type == "cpu":
        leave_busy_cores_alone()
    dtype, autocast = precision_of(settings, device)
    set_seed(settings.seed)
    spread = settings.device == AUTO and process_count() == 1
    model = add_adapter(load_base(base.files, dtype, device, spread=spread), settings, base.source)
    began = time.monotonic()
    figures = train_adapter(
        model, encoded.rows, settings, tokenizer.pad_token_id or 0, autocast, run=run, log=log, resumed=resumed
    )
    seconds = time.monotonic() - began
    figures |= {
        "rows_cut": encoded.cut,
        "rows_dropped": encoded.dropped,
        "rank": settings.rank,
        "alpha": settings.alpha,
    }
    facts = {
        "source": base.source,
        "revision": base.files.revision,
        "weights_digest": digest,
        "dtype": figures["dtype"],
    }
    return Trained(model, tokenizer, facts, figures, seconds)


def _read_rows(file: Path) -> list[dict[str, Any]]:
    """Read rows `{"id", "messages"}`. Raise PhaseError if there are none."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    if not rows:
        raise PhaseError(f"{file.name} has no rows: there is nothing to learn from. The phase before it says why.")
    return rows
