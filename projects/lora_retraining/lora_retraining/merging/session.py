"""Merge an adapter into a base, compare the result, and describe it: phases `merge` and `merge_1b`."""

import dataclasses
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projects_common.models.devices import choose_device
from projects_common.models.headers import read_headers
from projects_common.models.loading import ModelFiles

from lora_retraining.base_model.loading import find_model
from lora_retraining.merging import report
from lora_retraining.merging.logits import compare_logits, prompts_of
from lora_retraining.merging.merged_model import DTYPES, MergedModel, merge_adapter, reference_base, stored_dtype
from lora_retraining.settings import Settings
from mlflow_plugin.machine.threads import leave_busy_cores_alone

_logger = logging.getLogger(__name__)


def find_base(model: str, merged: Path | None, merged_by: str = "") -> ModelFiles:
    """Find the base to merge into: a model by its name, or the merged model of an earlier phase."""
    if merged is None:
        return find_model(model)
    # Named by its phase: the folder differs from run to run, and would be in merge.json.
    return dataclasses.replace(find_model(str(merged)), source=f"the model of {merged_by}")


@dataclass(frozen=True)
class Comparison:
    """A merge and its comparison with base and adapter.

    Attributes:
        data: The content of merge.json.
        metrics: The figures that gates and people look at.
    """

    data: Mapping[str, Any]
    metrics: Mapping[str, float]

    def save(self, file: Path) -> None:
        """Write merge.json."""
        file.write_text(json.dumps(self.data, indent=2) + "\n", encoding="utf-8")


class Merging:
    """One merge, from the adapter to the comparison.

    Args:
        settings: With the dtype of the result, the device and the refusals that are overridden.
        base: The base to merge into.
        adapter: The folder of the adapter.
        progress: Yields the blocks and shows how many are done.
    """

    def __init__(
        self,
        settings: Settings,
        base: ModelFiles,
        adapter: Path,
        progress: Callable[[Sequence[Any]], Iterator[Any]] = iter,
    ) -> None:
        self._settings, self._base, self._adapter, self._progress = settings, base, adapter, progress
        self._device = choose_device(settings.device)
        if self._device.type == "cpu":
            leave_busy_cores_alone()
        self._merged: MergedModel | None = None

    def write(self, folder: Path) -> None:
        """Write the merged model. Raise PhaseError if the merge is refused or fails."""
        self._merged = merge_adapter(
            self._adapter,
            self._base,
            folder,
            self._settings.merge_dtype,
            self._device,
            self._settings.override,
            progress=self._progress,
        )

    def compare(self, tasks: Path) -> Comparison:
        """Compare the logits of the written model with those of base and adapter on the first test tasks."""
        assert self._merged is not None
        merged, reference = self._merged, reference_base(self._merged)
        logits = compare_logits(
            merged.files,
            reference,
            merged.adapter.folder,
            prompts_of(merged.files, tasks),
            DTYPES[merged.dtype],
            stored_dtype(read_headers(reference.folder)),
            self._device,
        )
        data = report.as_data(merged, reference.source, logits)
        for problem in data["files"]["problems"]:
            _logger.warning(f"{problem}")
        _logger.info(report.rounding_sentence(data))
        return Comparison(data, report.metrics(merged, logits))
