"""All checks of one training, in the order of their titles. What one of them needs and lacks skips it, saying so."""

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from projects_common.models.devices import choose_device
from projects_common.models.headers import FLOAT_BYTES, TensorHeader, bytes_by_dtype, parameter_count, read_headers
from projects_common.models.loading import ModelFiles, load_tokenizer

from lora_retraining.base_model.loading import find_model
from lora_retraining.checks import cost, memory, resources
from lora_retraining.checks import data as data_checks
from lora_retraining.checks.base_precision import check_adapter, check_base_precision, check_names
from lora_retraining.checks.checklist import CHECKS, Check
from lora_retraining.checks.scripts import check_scripts
from lora_retraining.checks.tokenizer import check_tokenizer, read_generation_config
from lora_retraining.data.tasks import write_rows, write_tasks
from lora_retraining.settings import Settings
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import value_digest

_logger = logging.getLogger(__name__)


@dataclass
class Findings:
    """Every check, and what was read on the way: None or empty where it could not be."""

    checks: list[Check] = field(default_factory=list)
    files: ModelFiles | None = None
    headers: list[TensorHeader] = field(default_factory=list)
    tokenizer: Any = None
    data: data_checks.Data | None = None
    lengths: data_checks.Lengths | None = None
    estimate: dict[str, float] = field(default_factory=dict)
    """Metrics: what the training will take, in seconds and dollars."""

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """The outcome of one check; an error that it raises for people is its failure."""
        try:
            self.checks.append(check())
        except PhaseError as error:
            self.checks.append(Check(name, "fail", str(error), "See what it says."))

    def outputs(self) -> dict[str, Callable[[Path], object]]:
        """Return a writer for each output: the same bytes for the same data and model.

        Raises:
            PhaseError: There is no model or no data, and that was overridden.
        """
        data, files = self.data, self.files
        if data is None or not data.rows or files is None:
            raise PhaseError("without a model and data there is nothing to train, even with every check overridden.")
        facts = json.dumps(base_facts(files, self.headers), indent=2, sort_keys=True) + "\n"
        return {
            "train.jsonl": lambda file: write_rows(data.rows, file),
            "train_tasks.jsonl": lambda file: write_tasks(data.train_tasks, file),
            "test_tasks.jsonl": lambda file: write_tasks(data.test_tasks, file),
            "base.json": lambda file: file.write_text(facts, encoding="utf-8"),
        }

    def skip(self, why: str, *names: str) -> None:
        self.checks += [Check(name, "skip", why) for name in names]


def run_checks(settings: Settings, project: Path, artifact_uri: str) -> Findings:
    """Runs all checks. `project`: the folder of the MLproject file; `artifact_uri`: where the run's artifacts go.

    Raises UsageError for a device or dtype that cannot be.
    """
    _logger.info(f"checking {settings.model}, {settings.data} and this machine")
    found = Findings()
    _base(found, settings)
    found.add("scripts", lambda: check_scripts(project))
    folder = found.files.folder if found.files else Path(settings.model)
    found.add("adapter", lambda: check_adapter(folder))
    if found.files and found.headers:
        found.add("tokenizer", lambda: _tokenizer(found))
    else:
        found.skip("there is no model to look at", "tokenizer")
    found.add("packages", resources.check_packages)
    found.add("data", lambda: _data(found, settings))
    _machine(found, settings, artifact_uri)
    if found.data:
        data = found.data
        found.add("overlap", lambda: data_checks.check_overlap(data))
    else:
        found.skip("there is no data to look at", "overlap")
    order = list(CHECKS)
    found.checks.sort(key=lambda check: order.index(check.name))
    return found


def _base(found: Findings, settings: Settings) -> None:
    """Looks at names first: a model that they give away is not fetched, unless that refusal is overridden."""
    try:
        files = find_model(settings.model, weights=False)
        named = check_names(settings.model, files)
        if named.status == "fail" and "base_precision" not in settings.override:
            found.files, check = files, check_base_precision(settings.model, files) if _is_local(settings) else named
            found.checks.append(check)
        else:
            found.files = files if _is_local(settings) else find_model(settings.model)
            found.checks.append(check_base_precision(settings.model, found.files))
        found.headers = read_headers(found.files.folder)
    except PhaseError as error:
        if any(check.name == "base_precision" for check in found.checks):
            return  # It has said the same already.
        if Path(settings.model).exists():
            found.add("base_precision", lambda: check_base_precision(settings.model, None))
        else:
            found.checks.append(Check("base_precision", "fail", str(error), "Give another model."))


def _is_local(settings: Settings) -> bool:
    return settings.model in ("tiny", "smollm2") or Path(settings.model).exists()


def _tokenizer(found: Findings) -> Check:
    assert found.files is not None
    found.tokenizer = load_tokenizer(found.files)
    generation = read_generation_config(found.files.folder)
    return check_tokenizer(found.tokenizer, found.files.config, generation, found.headers)


def _data(found: Findings, settings: Settings) -> Check:
    found.data = data_checks.load_data(settings)
    problem = ""
    try:
        if found.tokenizer is not None:
            found.lengths = data_checks.measure_lengths(found.tokenizer, found.data.rows, settings.max_length)
    except PhaseError as error:
        problem = str(error)
    return data_checks.check_data(settings, found.data, found.lengths, problem)


def _machine(found: Findings, settings: Settings, artifact_uri: str) -> None:
    from lora_retraining.training.plan import precision_of

    if not (found.files and found.headers):
        found.skip("the model's size is not known", "device", "memory", "disk", "cost")
        return
    device = choose_device(settings.device)
    dtype, autocast = precision_of(settings, device)
    gpu = device.type == "cuda"
    use = memory.Precision(dtype.itemsize, 2 if autocast else dtype.itemsize, gpu)
    merged = FLOAT_BYTES["BF16" if settings.merge_dtype == "bfloat16" else "F32"]
    merging = memory.merge_memory(found.headers, merged)
    sizes = memory.architecture(found.files.config)
    length = settings.max_length
    if settings.packing == "grouped" and found.lengths:
        length = min(length, found.lengths.longest)
    training = memory.training_memory(sizes, found.headers, settings, length, use) if sizes else None
    adapter = 4 * memory.adapter_parameters(found.headers, settings.rank)
    count = parameter_count(found.headers)
    found.add("device", lambda: resources.check_device(device, count))
    free, main = resources.free_device_memory(device), resources.free_main_memory()
    found.add("memory", lambda: resources.check_memory(training, merging, free, main, gpu=gpu))
    found.add("cost", lambda: _cost(found, settings, sizes, autocast or dtype == torch.bfloat16, device))
    needs = resources.disk_needs(adapter, count * merged, artifact_uri)
    found.add("disk", lambda: resources.check_disk(needs))


def _cost(
    found: Findings, settings: Settings, sizes: memory.Architecture | None, narrow: bool, device: torch.device
) -> Check:
    seconds = None
    if sizes and found.lengths and found.data:
        dtype = torch.bfloat16 if narrow else torch.float32
        rows = len(found.data.rows)
        seconds = cost.estimated_seconds(sizes, found.headers, settings, found.lengths, rows, dtype, device)
    check, found.estimate = cost.check_cost(seconds)
    return check


def base_facts(files: ModelFiles, headers: Collection[TensorHeader]) -> dict[str, Any]:
    """What is known of the base model without reading its weights; the same on every machine."""
    listed = [[header.name, header.dtype, list(header.shape)] for header in headers]
    return {
        "source": files.source,
        "revision": files.revision,
        "parameters": parameter_count(headers),
        "bytes_by_dtype": bytes_by_dtype(headers),
        "headers_digest": value_digest(listed),
        "config_digest": value_digest(json.loads(json.dumps(files.config))),
    }
