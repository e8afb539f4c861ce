"""Two runs of one phase side by side: the differences in how they were made, and the effect on the result."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from mlflow_plugin.errors import UsageError
from mlflow_plugin.format import short
from mlflow_plugin.project.parameters import Parameter, canonical, unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.reports import models
from mlflow_plugin.reports.views.code_changes import code_changes
from mlflow_plugin.reports.views.compare_sentence import comparison_sentence
from mlflow_plugin.reports.views.effects import effects_of
from mlflow_plugin.reports.views.phase_runs import run_model
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.provenance import EnvironmentRecord, read_code, read_environment
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import label_of, values_of, with_members

ReadArtifact = Callable[[PhaseRun, str], str | None]
_Record = TypeVar("_Record")
_MOST_NAMED = 5


def compare_view(
    history: History, left_run_id: str, right_run_id: str, read_artifact: ReadArtifact
) -> models.Comparison:
    """Compare the right run with the left one. A run that reused another stands for the one that it reused.

    Args:
        history: The experiment.
        left_run_id: The whole id of the left run.
        right_run_id: The whole id of the right run.
        read_artifact: Gives the text of a run's artifact by its path, or None.

    Of two sets of runs the code and the environment of two runs with the same values are compared, and the time and
    cost of all their runs, reused ones included.

    Raises:
        UsageError: A run does not exist, is no run of a phase, the two are of different phases, or one is a set.
    """
    left, right = (with_members(history, _computed(history, run_id)) for run_id in (left_run_id, right_run_id))
    if (left.project, left.phase) != (right.project, right.phase):
        raise UsageError(
            f"{left.short} is a run of {left.phase} (project {left.project}) and {right.short} one of {right.phase} "
            f"(project {right.project}): only runs of the same phase can be compared."
        )
    phase = history.project.phases.get(left.phase) if history.is_own(left) else None
    if bool(left.members) != bool(right.members):
        raise _set_with_one(phase, *((left, right) if left.members else (right, left)))
    one, other, alike = _alike(phase, left, right)
    records = (one, other) if alike else ()
    code = [_record(run, schema.CODE_FILE, read_artifact, read_code) for run in records] or [None, None]
    environment = [_record(run, schema.ENVIRONMENT_FILE, read_artifact, read_environment) for run in records]
    environment = environment or [None, None]
    comparison = models.Comparison(
        left=run_model(phase, left),
        right=run_model(phase, right),
        parameters=parameter_changes(phase, left, right),
        code=code_changes(one, other, code[0], code[1]),
        inputs=_input_changes(history, left, right),
        environment=_environment_changes(environment[0], environment[1]),
        hardware=models.HardwareChange(
            left=left.hardware or None,
            right=right.hardware or None,
            same=left.hardware == right.hardware if left.hardware and right.hardware else None,
        ),
        effects=effects_of(phase, _with_all_costs(left), _with_all_costs(right)),
    )
    comparison.sentence = comparison_sentence(phase, comparison)
    if phase and left.members and alike:
        comparison.sentence += f"; code and environment are those of {label_of(phase, one)}"
    return comparison


def _set_with_one(phase: Phase | None, of_set: PhaseRun, run: PhaseRun) -> UsageError:
    """Return the error for a set of runs that is to be compared with one run."""
    names = [f"{label_of(phase, one)} {one.run_id}" if phase else one.run_id for one in of_set.each[:_MOST_NAMED]]
    more = f" and {len(of_set.members) - _MOST_NAMED} more" if len(of_set.members) > _MOST_NAMED else ""
    return UsageError(
        f"{of_set.short} is a set of {len(of_set.members)} runs of {of_set.phase} and {run.short} is one run. Compare "
        f"it with a run of the set: {', '.join(names)}{more}; or with another set."
    )


def _alike(phase: Phase | None, left: PhaseRun, right: PhaseRun) -> tuple[PhaseRun, PhaseRun, bool]:
    """Return the two runs whose code is compared, and whether they have the same values: of two sets the first such
    runs.
    """
    if not left.member_runs or not right.member_runs:
        return left, right, not left.members
    if phase:
        there = {values_of(phase, run): run for run in right.member_runs}
        for run in left.member_runs:
            if other := there.get(values_of(phase, run)):
                return run, other, True
    return left.member_runs[0], right.member_runs[0], False


def _with_all_costs(run: PhaseRun) -> PhaseRun:
    """Return a set with the time and cost of all its runs; those that it reused cost it nothing itself."""
    costs = {
        name: sum(one.metrics.get(name, 0.0) for one in run.member_runs)
        for name in (schema.DURATION_SECONDS, schema.COST_USD)
        if run.member_runs
    }
    return replace(run, metrics={**run.metrics, **costs})


def _computed(history: History, run_id: str) -> PhaseRun:
    """Return the run that computed the result of a run, following reuses."""
    run = history.run(run_id)
    seen = {run_id}
    while run is not None and run.reused_run_id and run.reused_run_id not in seen:
        seen.add(run.reused_run_id)
        reused, run = run, history.run(run.reused_run_id)
        if run is None:
            raise UsageError(
                f"{reused.phase} {reused.short} reused the run {reused.reused_run_id}, which was deleted. Choose "
                "another run to compare."
            )
    if run is None:
        raise UsageError(f"{run_id}: this tracking store has no such run. Give the whole run id.")
    if not run.phase:
        raise UsageError(f"{run_id}: that run is no phase run.")
    return run


def _record(run: PhaseRun, path: str, read_artifact: ReadArtifact, parse: Callable[[str], _Record]) -> _Record | None:
    """Read a record that a run keeps under a path; None when there is none or it cannot be read."""
    try:
        text = read_artifact(run, path)
        return None if text is None else parse(text)
    except Exception:  # Each artifact store raises its own errors; everything else can be compared without.
        return None


# --- parameters ---


def parameter_changes(phase: Phase | None, left: PhaseRun, right: PhaseRun) -> list[models.ParameterChange]:
    """Compare all parameters that either run was given, those that differ first.

    Values are compared, not texts: `1e-3` is the same as `0.001`, and a path to other bytes is not the same. A
    parameter that a run lacks has its declared default, or None.
    """
    declared = phase.parameters if phase else {}
    steering = (phase.ignore | phase.steering_parameters) if phase else frozenset()
    kept = _fingerprints(left), _fingerprints(right)
    counted = {parameter.name for parameter in phase.result_parameters} if phase else set()
    counted |= {*kept[0], *kept[1]} - steering
    changes = []
    for name in sorted({*left.parameters, *right.parameters}):
        parameter = declared.get(name, Parameter(name))
        texts = [_text(parameter, run) for run in (left, right)]
        if name in kept[0] and name in kept[1]:
            same = kept[0][name] == kept[1][name]
            if not same and texts[0] == texts[1]:  # A file that changed where it lies.
                texts = [f"{text} (content {one[name][-64:][:12]})" for text, one in zip(texts, kept, strict=True)]
        else:
            same = _value(parameter, texts[0]) == _value(parameter, texts[1])
        changes_result = name in counted if counted or phase else name not in _STEERING
        changes.append(
            models.ParameterChange(name=name, left=texts[0], right=texts[1], same=same, changes_result=changes_result)
        )
    return sorted(changes, key=lambda one: (one.same, not one.changes_result, one.name))


_STEERING = ("decide", "price_per_hour")


def _fingerprints(run: PhaseRun) -> Mapping[str, str]:
    """Return the canonical values at the time of the run, by name; empty when there were too many to keep."""
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


def _input_changes(history: History, left: PhaseRun, right: PhaseRun) -> list[models.InputChange]:
    known = history.runs([*left.inputs.values(), *right.inputs.values()])
    changes = []
    for need in sorted({*left.inputs, *right.inputs}):
        one, other = (_input(run, need, known) for run in (left, right))
        changes.append(models.InputChange(need=need, left=one, right=other, same_bytes=_same_bytes(one, other)))
    return changes


def _input(run: PhaseRun, need: str, known: Mapping[str, PhaseRun]) -> models.ComparedInput | None:
    run_id = run.inputs.get(need)
    if run_id is None:
        return None
    upstream, digests = known.get(run_id), run.fingerprint.get("inputs")
    # The digest of an input is known even when the run that made it was deleted.
    digest = digests.get(need) if isinstance(digests, dict) else None
    return models.ComparedInput(
        run_id=run_id,
        short=short(run_id),
        completed_at=upstream.completed_at if upstream else None,
        output_digest=str(digest or (upstream.output_digest if upstream else "")) or None,
    )


def _same_bytes(left: models.ComparedInput | None, right: models.ComparedInput | None) -> bool | None:
    if left is None or right is None:
        return False
    if left.run_id == right.run_id:
        return True
    if left.output_digest is None or right.output_digest is None:
        return None
    return left.output_digest == right.output_digest


def _environment_changes(left: EnvironmentRecord | None, right: EnvironmentRecord | None) -> models.EnvironmentChanges:
    if left is None or right is None:
        return models.EnvironmentChanges(recorded=False, changes=[])
    changes = [
        models.SettingChange(name=name, left=one.get(name), right=other.get(name))
        for one, other in ((left.settings, right.settings), (left.packages, right.packages))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]
    return models.EnvironmentChanges(recorded=True, changes=changes)
