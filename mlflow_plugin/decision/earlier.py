"""Earlier runs of a phase that resemble the request without being the same. Reads, never writes."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace

from mlflow_plugin.checkpoints.store import checkpoint_step, newest_complete
from mlflow_plugin.decision.extension import grows
from mlflow_plugin.decision.facts import Shorter
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.identity import Identity
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import AskAbove, Phase
from mlflow_plugin.store.artifacts import absent_root
from mlflow_plugin.store.history import History
from mlflow_plugin.store.outputs import missing
from mlflow_plugin.store.run import PhaseRun

ASK_ABOVE_VARIABLE = "MLFLOW_PHASES_ASK_ABOVE"
_FIRST, _MOST = 20, 200


def ask_above(phase: Phase) -> AskAbove:
    """Return the price above which superseding good runs is asked about.

    Raises:
        UsageError: The environment variable holds no number of minutes.
    """
    text = os.environ.get(ASK_ABOVE_VARIABLE, "").strip()
    if not text:
        return phase.ask_above
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not (math.isfinite(minutes) and minutes >= 0):
        raise UsageError(f"{ASK_ABOVE_VARIABLE}={text[:40]!r} is not a number of minutes. Set it to 0 to ask always.")
    return AskAbove(minutes, math.inf)


def replaced_run(request: Request, identity: Identity, history: History) -> PhaseRun | None:
    """Return the newest good run with the same parameters: a new run takes its place. None for a new value."""
    phase = request.phase
    latest = history.latest(phase)
    for run in _newest_first(history, phase, latest):
        accepted = latest is not None and run.run_id == latest.run_id
        if not run.complete or run.beside or not (accepted or phase.grade(run.metrics) == "good"):
            continue
        if not _same_request(request, identity, run) or history.quarantine_reason(run):
            continue
        if not missing(request.client, run) or absent_root(run):
            return run
    return None


def _newest_first(history: History, phase: Phase, latest: PhaseRun | None) -> Iterator[PhaseRun]:
    """Yield the runs that computed a phase, newest first, the latest usable one before all others."""
    if latest is not None:
        yield latest
    runs = history.computed(phase.name, _FIRST)
    yield from runs
    if len(runs) == _FIRST:
        yield from history.computed(phase.name, _MOST)[_FIRST:]


def _same_request(request: Request, identity: Identity, run: PhaseRun) -> bool:
    """Return whether a run was asked for with the same parameters. A file of the same path counts as the same."""
    other = identity.other_parameters(run.fingerprint, run.parameters)
    return all(_names_same_file(request, identity, run, name) for name in other)


def _names_same_file(request: Request, identity: Identity, run: PhaseRun, name: str) -> bool:
    recipe = identity.recipe
    if name not in recipe.parameters or not recipe.parameters[name][0].startswith("sha256:"):
        return False
    return unquoted(run.parameters.get(name, "")) == str(request.values.get(name))


def interrupted_before_edit(request: Request, identity: Identity, history: History) -> PhaseRun | None:
    """Return the newest interrupted run with the same parameters and inputs, unless one of those completed since."""
    for run in history.computed(request.phase.name, _FIRST):
        if run.run_id == request.own_run_id or identity.differences(run.fingerprint, run.parameters, code=False):
            continue
        if run.complete:
            return None
        if (run.checkpoint or run.first_checkpoint) and not run.successor:
            return run
    return None


def shorter_run(request: Request, identity: Identity, history: History) -> Shorter | None:
    """Return the longest good run that differs in nothing but smaller values of `extend`, and has its checkpoint."""
    found: list[tuple[int, Shorter]] = []
    for run in history.computed(request.phase.name, _FIRST):
        other = identity.other_parameters(run.fingerprint, run.parameters)
        if not run.complete or not other or not other <= set(request.phase.extend) or history.quarantine_reason(run):
            continue
        grown = grows(other, request.values, run.parameters)
        same = all(said.split(" (")[0] in other for said in identity.differences(run.fingerprint, run.parameters))
        if grown and same and request.phase.grade(run.metrics) != "poor":
            checkpoint = newest_complete(run.artifact_uri)
            if checkpoint:
                found.append((checkpoint_step(checkpoint) or 0, Shorter(replace(run, checkpoint=checkpoint), grown)))
    return max(found, key=lambda one: one[0])[1] if found else None


def deleted_sentences(phase: Phase, identity: Identity, history: History) -> list[str]:
    """Say of the newest deleted run that would be reused how it is brought back."""
    good = [run for run in history.deleted_same(identity) if phase.grade(run.metrics) == "good"]
    return [
        f"{phase.name} {run.short} with the same identity was deleted; "
        f"`mlflow runs restore --run-id {run.run_id}` brings it back"
        for run in good[:1]
    ]
