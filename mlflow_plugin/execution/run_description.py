"""The name and the description of a phase's run in MLflow's own UI.

The name tells runs apart in tables and plots: the phase, parameters that differ from their default, quality. The
description stands between two comments, so that text beside it stays.
"""

import re
from collections.abc import Mapping, Sequence

from mlflow_plugin.decision.quality import gates_text, quality_text
from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.format import describe_cost, describe_duration, short
from mlflow_plugin.markdown import link, plain
from mlflow_plugin.project.parameters import Value
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import NOTE, RUN_NAME
from mlflow_plugin.store.schema import TAG_LENGTH

_BEGIN, _END = "<!-- mlflow-phases -->", "<!-- /mlflow-phases -->"
_BLOCK = re.compile(f"{_BEGIN}.*?{_END}\\s*", re.DOTALL)
_MOST_PARAMETERS = 3
_LONGEST_VALUE = 30


def decided(
    phase: Phase, values: Mapping[str, Value], verdict: Verdict, inputs: Mapping[str, PhaseRun]
) -> dict[str, str]:
    """Return the tags of a run on which a verdict was just reached. `values` are its parameters, `inputs` its upstream
    runs.
    """
    what = {"ask": "asks", "wait": "waits", "reuse": "reuse of", "resume": "resumes"}.get(verdict.action, "")
    about = f" {short(verdict.run_id)}" if verdict.run_id and verdict.action in ("wait", "reuse", "resume") else ""
    name = _name(phase, values) + (f": {what}{about}" if what else "")
    lines = [f"**{verdict.action}**: {plain('; '.join(verdict.reasons))}", *_made_from(inputs)]
    return {RUN_NAME: name, NOTE: with_block("", lines)}


def reused(phase: Phase, values: Mapping[str, Value], verdict: Verdict, source: PhaseRun) -> dict[str, str]:
    """Return the tags of a run that reuses another."""
    saved = f", which saved {describe_duration(source.duration_seconds)}" if source.duration_seconds is not None else ""
    money = f" and {describe_cost(source.cost_usd)}" if saved and source.cost_usd is not None else ""
    lines = [
        f"**reuse** of {run_link(source)}{saved}{money}: {plain('; '.join(verdict.reasons))}",
        *_how_good(phase, source),
    ]
    how_good = _quality_in_name(phase, source, after=", ")
    return {RUN_NAME: f"{_name(phase, values)}: reuse of {source.short}{how_good}", NOTE: with_block("", lines)}


def completed(
    phase: Phase, values: Mapping[str, Value], run: PhaseRun, inputs: Mapping[str, PhaseRun], seconds: float, usd: float
) -> dict[str, str]:
    """Return the tags of a run that has computed its phase.

    `run` is the run as it was just before. Text that its script wrote stays, and so does a name that somebody gave it.
    """
    name = _name(phase, values)
    lines = [
        *_how_good(phase, run),
        f"{describe_duration(seconds)}, {describe_cost(usd)}" + (f" on {plain(run.hardware)}" if run.hardware else ""),
        f"**{run.verdict}**: {plain(run.reason)}",
        *_made_from(inputs),
    ]
    tags = {NOTE: with_block(run.note, lines)}
    renamed = run.name != name and not run.name.startswith(f"{name}: ")
    return tags if renamed else {RUN_NAME: f"{name}{_quality_in_name(phase, run)}", **tags}


def failed(note: str, status: str, reason: str) -> dict[str, str]:
    """Return the description of a run that ended without a result. `note` is its description so far."""
    return {NOTE: with_block(note, [f"**{status.lower()}**: {plain(reason)}", *_lines_kept(note)])}


def pipeline_done(runs: Sequence[PhaseRun]) -> dict[str, str]:
    """Return the description of a pipeline's run: a table with links to the runs of its phases."""
    rows = ["| phase | verdict | time | cost |", "|---|---|---|---|"]
    for run in runs:
        seconds = "" if run.duration_seconds is None else describe_duration(run.duration_seconds)
        usd = "" if run.cost_usd is None else describe_cost(run.cost_usd)
        rows.append(f"| {run_link(run, run.name)} | {plain(run.verdict)} | {seconds} | {usd} |")
    return {NOTE: with_block("", ["\n".join(rows)])}


def with_block(note: str, lines: list[str]) -> str:
    """Put this block in front of a description, in place of its earlier block; cut to the length of a tag."""
    block = "\n".join([_BEGIN, "\n\n".join(lines)[: TAG_LENGTH - 100], _END])
    rest = _BLOCK.sub("", note).strip()
    whole = f"{block}\n\n{rest}" if rest else block
    return whole if len(whole) <= TAG_LENGTH else f"{whole[: TAG_LENGTH - 10]} ..."


def _lines_kept(note: str) -> list[str]:
    """Keep the line with the inputs from a description that announced the work."""
    block = _BLOCK.match(note)
    return [line for line in block[0].splitlines() if line.startswith("made from ")] if block else []


def run_link(run: PhaseRun, text: str = "") -> str:
    """Return a link to a run's page that works at whatever address the UI is served."""
    return link(text or f"{run.phase} {run.short}", f"#/experiments/{run.experiment_id}/runs/{run.run_id}")


def run_address(experiment_id: str, run_id: str) -> str:
    """Return the address of a run in the MLflow UI: below the tracking server, or `mlflow ui` for a local store."""
    from mlflow.tracking import get_tracking_uri

    uri = get_tracking_uri()
    base = uri.rstrip("/") if uri.startswith("http") else "http://127.0.0.1:5000"
    return f"{base}/#/experiments/{experiment_id}/runs/{run_id}"


def _how_good(phase: Phase, run: PhaseRun) -> list[str]:
    quality, gates = quality_text(phase, run), gates_text(phase, run)
    return [*([f"**{plain(quality)}**"] if quality else []), *([plain(gates)] if gates else [])]


def _made_from(inputs: Mapping[str, PhaseRun]) -> list[str]:
    return ["made from " + ", ".join(run_link(run) for run in inputs.values())] if inputs else []


def _name(phase: Phase, values: Mapping[str, Value]) -> str:
    """Return the phase, and the result-changing parameters that differ from their defaults."""
    differing = [
        f"{parameter.name}={_shortened(values[parameter.name])}"
        for parameter in phase.result_parameters
        if parameter.name in values and (parameter.default is None or values[parameter.name] != parameter.value())
    ]
    more = [f"and {len(differing) - _MOST_PARAMETERS} more"] if len(differing) > _MOST_PARAMETERS else []
    return " ".join([phase.name, *differing[:_MOST_PARAMETERS], *more])


def _shortened(value: Value) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    # Of a path the end tells most.
    return text if len(text) <= _LONGEST_VALUE else f"...{text[-_LONGEST_VALUE:]}"


def _quality_in_name(phase: Phase, run: PhaseRun, after: str = ": ") -> str:
    value = run.metrics.get(phase.quality.metric) if phase.quality else None
    return f"{after}{phase.quality.metric} {value:.4g}" if phase.quality and value is not None else ""
