"""Two runs of one phase side by side: what differs in how they were made, and what that did to the result."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mlflow_plugin.errors import UsageError
from mlflow_plugin.format import short
from mlflow_plugin.project.parameters import Parameter, canonical, unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.reports.views.code_changes import code_changes
from mlflow_plugin.reports.views.compare_sentence import comparison_sentence
from mlflow_plugin.reports.views.effects import effects_of
from mlflow_plugin.reports.views.phase_runs import iso, run_dict
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.provenance import EnvironmentRecord, read_code, read_environment
from mlflow_plugin.store.run import PhaseRun

ReadArtifact = Callable[[PhaseRun, str], str | None]
_Record = TypeVar("_Record")


def compare_view(history: History, left_run_id: str, right_run_id: str, read_artifact: ReadArtifact) -> dict[str, Any]:
    """How the right run differs from the left one. For a run that reused another, that other is compared.

    `read_artifact(run, path)` gives an artifact's text, or None. Raises UsageError for runs that do not exist, are no
    runs of a phase, or are of different phases.
    """
    left, right = _computed(history, left_run_id), _computed(history, right_run_id)
    if (left.project, left.phase) != (right.project, right.phase):
        raise UsageError(
            f"{left.short} is a run of {left.phase} (project {left.project}) and {right.short} one of {right.phase} "
            f"(project {right.project}): only runs of the same phase can be compared."
        )
    phase = history.project.phases.get(left.phase) if left.project == history.project.name else None
    code = [_record(run, schema.CODE_FILE, read_artifact, read_code) for run in (left, right)]
    view = {
        "left": run_dict(phase, left),
        "right": run_dict(phase, right),
        "parameters": parameter_changes(phase, left, right),
        "code": code_changes(left, right, code[0], code[1]),
        "inputs": _input_changes(history, left, right),
        "environment": _environment_changes(
            *(_record(run, schema.ENVIRONMENT_FILE, read_artifact, read_environment) for run in (left, right))
        ),
        "hardware": {
            "left": left.hardware or None,
            "right": right.hardware or None,
            "same": left.hardware == right.hardware if left.hardware and right.hardware else None,
        },
        "effects": effects_of(phase, left, right),
    }
    return {**view, "sentence": comparison_sentence(phase, view)}


def _computed(history: History, run_id: str) -> PhaseRun:
    """The run that computed what a run stands for."""
    run = history.run(run_id)
    seen = {run_id}
    while run is not None and run.reused_run_id and run.reused_run_id not in seen:
        seen.add(run.reused_run_id)
        reused, run = run, history.run(run.reused_run_id)
        if run is None:
            raise UsageError(
                f"{reused.phase} {reused.short} reused the run {reused.reused_run_id}, which was deleted: there is "
                "nothing to compare. Choose another run."
            )
    if run is None:
        raise UsageError(f"{run_id}: there is no such run in this tracking store. Give the whole run id.")
    if not run.phase:
        raise UsageError(f"{run_id}: that run is no phase run.")
    return run


def _record(run: PhaseRun, path: str, read_artifact: ReadArtifact, parse: Callable[[str], _Record]) -> _Record | None:
    """What a run keeps under a path; None when it keeps nothing, or nothing that can be read."""
    try:
        text = read_artifact(run, path)
        return None if text is None else parse(text)
    except Exception:  # As many kinds as there are artifact stores; all the rest can be compared without.
        return None


# --- parameters ---


def parameter_changes(phase: Phase | None, left: PhaseRun, right: PhaseRun) -> list[dict[str, Any]]:
    """All parameters that either run was given, as {name, left, right, same, changes_result}, those that differ first.

    Compared as values: `1e-3` is the same as `0.001`, and a path to other bytes is not the same. One that a run lacks
    stands at its declared default, or is None.
    """
    declared = phase.parameters if phase else {}
    steering = (phase.ignore | phase.steering_parameters) if phase else frozenset()
    marks = _fingerprints(left), _fingerprints(right)
    counted = {parameter.name for parameter in phase.result_parameters} if phase else set()
    counted |= {*marks[0], *marks[1]} - steering
    found = []
    for name in sorted({*left.parameters, *right.parameters}):
        parameter = declared.get(name, Parameter(name))
        texts = [_text(parameter, run) for run in (left, right)]
        if name in marks[0] and name in marks[1]:
            same = marks[0][name] == marks[1][name]
            if not same and texts[0] == texts[1]:  # A file that changed where it lies.
                texts = [f"{text} (content {mark[name][-64:][:12]})" for text, mark in zip(texts, marks, strict=True)]
        else:
            same = _value(parameter, texts[0]) == _value(parameter, texts[1])
        changes_result = name in counted if counted or phase else name not in _STEERING
        found.append(
            {"name": name, "left": texts[0], "right": texts[1], "same": same, "changes_result": changes_result}
        )
    return sorted(found, key=lambda one: (one["same"], not one["changes_result"], one["name"]))


_STEERING = ("decide", "price_per_hour")


def _fingerprints(run: PhaseRun) -> Mapping[str, str]:
    """Name -> canonical value, as it was when the run was made; none when there were too many to keep."""
    kept = run.fingerprint.get("parameters")
    if not isinstance(kept, dict) or "*" in kept:
        return {}
    return {name: str(entry[0]) for name, entry in kept.items() if isinstance(entry, list) and entry}


def _text(parameter: Parameter, run: PhaseRun) -> str | None:
    if parameter.name in run.parameters:
        return unquoted(run.parameters[parameter.name])
    return None if parameter.default is None else str(parameter.default)


def _value(parameter: Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return canonical(parameter.value(text))
    except UsageError:  # The type may have been another then.
        return text


# --- inputs and environment ---


def _input_changes(history: History, left: PhaseRun, right: PhaseRun) -> list[dict[str, Any]]:
    known = history.runs([*left.inputs.values(), *right.inputs.values()])
    found = []
    for need in sorted({*left.inputs, *right.inputs}):
        one, other = (_input(run, need, known) for run in (left, right))
        found.append({"need": need, "left": one, "right": other, "same_bytes": _same_bytes(one, other)})
    return found


def _input(run: PhaseRun, need: str, known: Mapping[str, PhaseRun]) -> dict[str, Any] | None:
    run_id = run.inputs.get(need)
    if run_id is None:
        return None
    upstream, digests = known.get(run_id), run.fingerprint.get("inputs")
    # What it was made from is known even when that run was deleted.
    digest = digests.get(need) if isinstance(digests, dict) else None
    return {
        "run_id": run_id,
        "short": short(run_id),
        "completed_at": iso(upstream.completed_at) if upstream else None,
        "output_digest": str(digest or (upstream.output_digest if upstream else "")) or None,
    }


def _same_bytes(left: dict[str, Any] | None, right: dict[str, Any] | None) -> bool | None:
    if left is None or right is None:
        return False
    if left["run_id"] == right["run_id"]:
        return True
    if left["output_digest"] is None or right["output_digest"] is None:
        return None
    return bool(left["output_digest"] == right["output_digest"])


def _environment_changes(left: EnvironmentRecord | None, right: EnvironmentRecord | None) -> dict[str, Any]:
    if left is None or right is None:
        return {"recorded": False, "changes": []}
    changes = [
        {"name": name, "left": one.get(name), "right": other.get(name)}
        for one, other in ((left.settings, right.settings), (left.packages, right.packages))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]
    return {"recorded": True, "changes": changes}
