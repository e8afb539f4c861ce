"""Run all checks of one training, in the order of their titles. A check that lacks something is skipped and says so."""

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from projects_common.files import write_json_lines
from projects_common.models.devices import choose_device
from projects_common.models.headers import FLOAT_BYTES, TensorHeader, bytes_by_dtype, parameter_count, read_headers
from projects_common.models.loading import ModelFiles, load_tokenizer

from lora_retraining.base_model.loading import find_model, precision_of
from lora_retraining.checks import cost, memory, resources
from lora_retraining.checks import data as data_checks
from lora_retraining.checks.base_precision import check_adapter, check_base_precision, check_names
from lora_retraining.checks.checklist import CHECKS, Check
from lora_retraining.checks.scripts import check_scripts
from lora_retraining.checks.tokenizer import check_tokenizer, read_generation_config
from lora_retraining.data.tasks import write_tasks
from lora_retraining.settings import Settings
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import value_digest

_logger = logging.getLogger(__name__)


@dataclass
class Findings:
    """The result of every check, and the facts read on the way: None or empty if they could not be read.

    Attributes:
        estimate: Metrics: the seconds and dollars that the training will take.
    """

    checks: list[Check] = field(default_factory=list)
    files: ModelFiles | None = None
    headers: list[TensorHeader] = field(default_factory=list)
    tokenizer: Any = None
    data: data_checks.Data | None = None
    lengths: data_checks.Lengths | None = None
    estimate: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """Add the result of one check; a PhaseError is its failure."""
        try:
            self.checks.append(check())
        except PhaseError as error:
            self.checks.append(Check(name, "fail", str(error), "Follow the message."))

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
            "train.jsonl": lambda file: write_json_lines(data.rows, file, sort_keys=True),
            "train_tasks.jsonl": lambda file: write_tasks(data.train_tasks, file),
            "test_tasks.jsonl": lambda file: write_tasks(data.test_tasks, file),
            "base.json": lambda file: file.write_text(facts, encoding="utf-8"),
        }

    def skip(self, why: str, *names: str) -> None:
        self.checks += [Check(name, "skip", why) for name in names]


def run_checks(settings: Settings, project: Path, artifact_uri: str) -> Findings:
    """Run all checks.

    Args:
        settings: Of preflight.
        project: The folder of the MLproject file.
        artifact_uri: The artifact store of the run.

    Raises:
        UsageError: The device or dtype does not exist here.
    """
    _logger.info(f"checking {settings.model}, {settings.data} and this machine")
    findings = Findings()
    _base(findings, settings)
    findings.add("scripts", lambda: check_scripts(project))
    folder = findings.files.folder if findings.files else Path(settings.model)
    findings.add("adapter", lambda: check_adapter(folder))
    if findings.files and findings.headers:
        findings.add("tokenizer", lambda: _tokenizer(findings))
    else:
        findings.skip("there is no model to check", "tokenizer")
    findings.add("packages", resources.check_packages)
    findings.add("data", lambda: _data(findings, settings))
    _machine(findings, settings, artifact_uri)
    if findings.data:
        data = findings.data
        findings.add("overlap", lambda: data_checks.check_overlap(data))
    else:
        findings.skip("there is no data to check", "overlap")
    order = list(CHECKS)
    findings.checks.sort(key=lambda check: order.index(check.name))
    return findings


def _base(findings: Findings, settings: Settings) -> None:
    """Check names first: a model that they give away is not fetched, unless that refusal is overridden."""
    try:
        files = find_model(settings.model, weights=False)
        named = check_names(settings.model, files)
        if named.status == "fail" and "base_precision" not in settings.override:
            findings.files, check = files, check_base_precision(settings.model, files) if _is_local(settings) else named
            findings.checks.append(check)
        else:
            findings.files = files if _is_local(settings) else find_model(settings.model)
            findings.checks.append(check_base_precision(settings.model, findings.files))
        findings.headers = read_headers(findings.files.folder)
    except PhaseError as error:
        if any(check.name == "base_precision" for check in findings.checks):
            return  # Its failure says the same already.
        if Path(settings.model).exists():
            findings.add("base_precision", lambda: check_base_precision(settings.model, None))
        else:
            findings.checks.append(Check("base_precision", "fail", str(error), "Give another model."))


def _is_local(settings: Settings) -> bool:
    return settings.model in ("tiny", "smollm2") or Path(settings.model).exists()


def _tokenizer(findings: Findings) -> Check:
    assert findings.files is not None
    findings.tokenizer = load_tokenizer(findings.files)
    generation = read_generation_config(findings.files.folder)
    return check_tokenizer(findings.tokenizer, findings.files.config, generation, findings.headers)


def _data(findings: Findings, settings: Settings) -> Check:
    findings.data = data_checks.load_data(settings)
    problem = ""
    try:
        if findings.tokenizer is not None:
            findings.lengths = data_checks.measure_lengths(findings.tokenizer, findings.data.rows, settings.max_length)
    except PhaseError as error:
        problem = str(error)
    return data_checks.check_data(settings, findings.data, findings.lengths, problem)


def _machine(findings: Findings, settings: Settings, artifact_uri: str) -> None:
    if not (findings.files and findings.headers):
        findings.skip("the model's size is not known", "device", "memory", "disk", "cost")
        return
    device = choose_device(settings.device)
    dtype, autocast = precision_of(settings, device)
    gpu = device.type == "cuda"
    use = memory.Precision(dtype.itemsize, 2 if autocast else dtype.itemsize, gpu)
    merged = FLOAT_BYTES["BF16" if settings.merge_dtype == "bfloat16" else "F32"]
    merging = memory.merge_memory(findings.headers, merged)
    sizes = memory.architecture(findings.files.config)
    length = settings.max_length
    if settings.packing == "grouped" and findings.lengths:
        length = min(length, findings.lengths.longest)
    training = memory.training_memory(sizes, findings.headers, settings, length, use) if sizes else None
    adapter = 4 * memory.adapter_parameters(findings.headers, settings.rank)
    count = parameter_count(findings.headers)
    findings.add("device", lambda: resources.check_device(device, count))
    free, main = resources.free_device_memory(device), resources.free_main_memory()
    findings.add("memory", lambda: resources.check_memory(training, merging, free, main, gpu=gpu))
    findings.add("cost", lambda: _cost(findings, settings, sizes, autocast or dtype == torch.bfloat16, device))
    needs = resources.disk_needs(adapter, count * merged, artifact_uri)
    findings.add("disk", lambda: resources.check_disk(needs))


def _cost(
    findings: Findings, settings: Settings, sizes: memory.Architecture | None, narrow: bool, device: torch.device
) -> Check:
    seconds = None
    if sizes and findings.lengths and findings.data:
        dtype = torch.bfloat16 if narrow else torch.float32
        rows = len(findings.data.rows)
        seconds = cost.estimated_seconds(sizes, findings.headers, settings, findings.lengths, rows, dtype, device)
    check, findings.estimate = cost.check_cost(seconds)
    return check


def base_facts(files: ModelFiles, headers: Collection[TensorHeader]) -> dict[str, Any]:
    """Return the facts of the base model that need none of its weights; the same on every machine."""
    listed = [[header.name, header.dtype, list(header.shape)] for header in headers]
    return {
        "source": files.source,
        "revision": files.revision,
        "parameters": parameter_count(headers),
        "bytes_by_dtype": bytes_by_dtype(headers),
        "headers_digest": value_digest(listed),
        "config_digest": value_digest(json.loads(json.dumps(files.config))),
    }
