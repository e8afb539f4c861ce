"""What tags say, put together. Pure but for the user's name and the commit; `records` writes them."""

import getpass
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from mlflow_plugin import names
from mlflow_plugin.accounting import Estimate
from mlflow_plugin.evidence import Decision
from mlflow_plugin.identity import Identity
from mlflow_plugin.run_page import decided
from mlflow_plugin.runs import PhaseRun


def named(decision: Decision) -> dict[str, str]:
    """The tags by which people and lists of runs know what a run is about."""
    request = decision.request
    return {
        names.FORMAT: str(names.FORMAT_VERSION),
        names.NAME: request.phase.name,
        names.PROJECT: request.project.name,
        names.REASON: clipped("; ".join(decision.verdict.reasons)),
        names.RUNS_INDEX + names.phase_key(request.project.name, request.phase.name): "1",
        **decided(request.phase, request.values, decision.verdict, decision.inputs),
    }


def index(identity: Identity, inputs: Mapping[str, PhaseRun], project: str) -> dict[str, str]:
    """The tags by which a run is found: what it is, what it was made from, and all that lies upstream."""
    tags = {f"{names.IDENTITY_INDEX}{digest}": "1" for digest in identity.digests()}
    tags |= {f"{names.CONFIG_INDEX}{digest}": "1" for digest in identity.config_digests()}
    tags[names.FINGERPRINT] = identity.fingerprint()
    tags[names.ANCESTORS] = ",".join(sorted(_lineage(inputs.values())))
    # Quarantine is looked up by experiment, and a pinned run may be of another.
    experiments = {experiment for run in inputs.values() for experiment in (run.experiment_id, *run.experiments)}
    tags[names.EXPERIMENTS] = ",".join(sorted(experiments))
    for need, run in inputs.items():
        tags[names.INPUT_PREFIX + need] = run.run_id
        tags[names.INPUT_INDEX + run.run_id] = "1"
        tags[names.INPUT_BYTES_INDEX + names.output_key(project, run.phase, run.output_digest)] = "1"
    return tags


def _lineage(inputs: Iterable[PhaseRun]) -> set[str]:
    return {run_id for run in inputs for run_id in (run.run_id, *run.ancestors)}


def superseded_runs(decision: Decision) -> set[str]:
    """The runs of the same phase that a new one takes the place of, as the question said."""
    phase = decision.request.phase.name
    return {loss.run_id for loss in decision.verdict.invalidates if loss.phase == phase}


def expected_metrics(expected: Estimate | None) -> dict[str, float]:
    """The metrics that say what a run was expected to take and cost, to be compared with what it did."""
    if expected is None:
        return {}
    cost = {names.ESTIMATED_USD: expected.cost_usd} if expected.cost_usd is not None else {}
    return {names.ESTIMATED_SECONDS: expected.seconds, **cost}


def clipped(text: str) -> str:
    """At most a tag's length, and told so: MLflow itself cuts without a word."""
    return text if len(text) <= names.TAG_LENGTH else f"{text[: names.TAG_LENGTH - 20]} ... (cut)"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@lru_cache
def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@lru_cache
def git_commit(directory: Path) -> str:
    if not any((folder / ".git").exists() for folder in (directory, *directory.parents)):
        return ""
    from mlflow.utils.git_utils import get_git_commit

    commit: Callable[[str], str | None] = get_git_commit
    return commit(str(directory)) or ""


def dumps(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), default=str)
