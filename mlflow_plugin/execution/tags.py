"""The content of tags, put together. Pure but for the user's name and the commit; `records` writes them."""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.request import Decision
from mlflow_plugin.execution.run_description import decided
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.project.identity import Identity
from mlflow_plugin.store import schema
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import clipped, dumps, now

_SENTENCES = 10
_SENTENCE = 200
_ANCESTORS = 230


def named(decision: Decision) -> dict[str, str]:
    """Return the tags that tell people and lists of runs what a run is about."""
    request = decision.request
    return {
        schema.FORMAT: str(schema.FORMAT_VERSION),
        schema.NAME: request.phase.name,
        schema.PROJECT: request.project.name,
        schema.REASON: clipped("; ".join(decision.verdict.reasons)),
        **_findings(decision.verdict.observed),
        schema.RUNS_INDEX + schema.phase_key(request.project.name, request.phase.name): "1",
        **decided(request.phase, request.values, decision.verdict, decision.inputs),
    }


def _findings(observed: Findings | None) -> dict[str, str]:
    """Return the tag with what became of the files that the verdict compared, for a server that must not read them."""
    if observed is None:
        return {}
    listed = {
        "changed": [text[:_SENTENCE] for text in observed.changed[:_SENTENCES]],
        "unclear": [text[:_SENTENCE] for text in observed.unclear[:_SENTENCES]],
        "mentions": [text[:_SENTENCE] for text in observed.mentions[:_SENTENCES]],
        "compared": observed.compared,
        "complete": observed.complete,
        "at": now(),
    }
    return {schema.FINDINGS: dumps(listed)}


def index(identity: Identity, inputs: Mapping[str, PhaseRun], project: str) -> dict[str, str]:
    """Return the tags by which a run is found: its identity, its inputs, and everything upstream."""
    tags = {f"{schema.IDENTITY_INDEX}{digest}": "1" for digest in identity.digests()}
    tags |= {f"{schema.CONFIG_INDEX}{digest}": "1" for digest in identity.config_digests()}
    tags[schema.FINGERPRINT] = identity.fingerprint()
    tags |= ancestor_tags(_lineage(inputs.values()))
    # Quarantine is looked up by experiment, and a pinned run may be of another.
    experiments = {experiment for run in inputs.values() for experiment in (run.experiment_id, *run.experiments)}
    tags[schema.EXPERIMENTS] = ",".join(sorted(experiments))
    for need, run in inputs.items():
        tags[schema.INPUT_PREFIX + need] = run.run_id
        tags[schema.INPUT_INDEX + run.run_id] = "1"
        key = schema.output_key(run.project or project, run.own_phase, run.output_digest)
        tags[schema.INPUT_BYTES_INDEX + key] = "1"
    return tags


def ancestor_tags(run_ids: Iterable[str]) -> dict[str, str]:
    """Return the tags that list the runs upstream: one, and more of them where they do not fit."""
    ordered = sorted(run_ids)
    parts = [ordered[start : start + _ANCESTORS] for start in range(0, len(ordered), _ANCESTORS)] or [[]]
    keys = [schema.ANCESTORS, *(f"{schema.ANCESTORS}.{number}" for number in range(2, len(parts) + 1))]
    return {key: ",".join(part) for key, part in zip(keys, parts, strict=True)}


def _lineage(inputs: Iterable[PhaseRun]) -> set[str]:
    return {run_id for run in inputs for run_id in (run.run_id, *run.ancestors)}


def superseded_runs(decision: Decision) -> set[str]:
    """Return the ids of the runs of the same phase that a new one supersedes, as the question listed them."""
    phase = decision.request.phase.name
    return {one.run_id for one in decision.verdict.invalidates if one.phase == phase}


def expected_metrics(expected: Estimate | None) -> dict[str, float]:
    """Return the metrics with the expected duration and cost, to be compared with the actual ones."""
    if expected is None:
        return {}
    cost = {schema.ESTIMATED_USD: expected.cost_usd} if expected.cost_usd is not None else {}
    return {schema.ESTIMATED_SECONDS: expected.seconds, **cost}


@lru_cache
def git_commit(directory: Path) -> str:
    if not any((folder / ".git").exists() for folder in (directory, *directory.parents)):
        return ""
    from mlflow.utils.git_utils import get_git_commit

    commit: Callable[[str], str | None] = get_git_commit
    return commit(str(directory)) or ""
