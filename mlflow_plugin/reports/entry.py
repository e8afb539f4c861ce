"""One run of a phase as an entry of the experiment log: parameters, verdict, quality, time, cost, superseded runs."""

from collections.abc import Iterable

from mlflow_plugin.decision.quality import gates_text, quality_text
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.execution.run_description import run_address
from mlflow_plugin.format import clock, describe_cost, describe_duration, short
from mlflow_plugin.markdown import link, plain
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.run import PhaseRun

_LONGEST_VALUE = 60
_MARK = "<!-- mlflow-phases run {} -->"


def has_ended(run: PhaseRun) -> bool:
    """Return True when a run is over, so that its entry will not change."""
    return run.status != "RUNNING"


def entry(phase: Phase | None, run: PhaseRun, superseded: Iterable[SupersededRun] = ()) -> str:
    """Return the entry of an ended run as Markdown. It ends with a comment that names the run.

    Args:
        phase: The run's phase; None when the project no longer declares it.
        run: The run.
        superseded: The runs that no longer count since this one completed.
    """
    lines = [f"## {clock(run.when)}: {plain(run.phase)} {run.short}: {_outcome(run)}", ""]
    for label, text in _facts(phase, run):
        if text:
            lines.append(f"- **{label}:** {text}")
    if sentences := [plain(one.sentence()) for one in superseded]:
        lines.append(f"- **Superseded** (no longer counts; nothing was deleted){_by_whom(run)}:")
        lines += [f"  - {sentence}" for sentence in sentences]
    lines.append(f"- **Run:** {link(run.run_id, run_address(run.experiment_id, run.run_id))}")
    return "\n".join([*lines, "", _MARK.format(run.run_id), ""])


def _outcome(run: PhaseRun) -> str:
    if run.reused_run_id:
        return f"reused {plain(short(run.reused_run_id))}"
    if run.complete:
        return "resumed and completed" if run.verdict == "resume" else "completed"
    if run.verdict == "ask":
        return "a question stayed open" if not run.answer else "asked, then failed"
    return {"KILLED": "stopped"}.get(run.status, "failed")


def _facts(phase: Phase | None, run: PhaseRun) -> list[tuple[str, str]]:
    return [
        ("Run as", _run_as(run)),
        ("Verdict", plain(run.verdict) + _chosen(run)),
        ("Reason" if run.complete or run.verdict == "ask" else "Error", plain(run.reason)),
        ("Quality", plain(quality_text(phase, run)) if run.complete else ""),
        ("Gates", plain(gates_text(phase, run)) if phase and run.complete else ""),
        ("Time and cost", _spent(run)),
        ("Saved", _saved(run)),
        ("Resumable from", plain(run.checkpoint) if not run.complete else ""),
        ("By", plain(run.user)),
    ]


def _run_as(run: PhaseRun) -> str:
    given = [f"{name}={_shortened(unquoted(value))}" for name, value in sorted(run.parameters.items())]
    made_from = [f"{need} {short(used)}" for need, used in run.inputs.items()]
    parts = [plain(" ".join([run.phase, *given]))]
    parts += [f"made from {plain(', '.join(made_from))}"] if made_from else []
    parts += [f"resumed {plain(short(run.resumed_from))}"] if run.resumed_from else []
    return "; ".join(parts)


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."


def _chosen(run: PhaseRun) -> str:
    return f", answered {plain(run.answer)} by {plain(run.answered_by)}" if run.answer else ""


def _by_whom(run: PhaseRun) -> str:
    return f", chosen by {plain(run.answered_by or run.user)}" if run.answered_by or run.user else ""


def _spent(run: PhaseRun) -> str:
    if run.reused_run_id or run.duration_seconds is None:
        return ""
    cost = "" if run.cost_usd is None else f", {describe_cost(run.cost_usd)}"
    return f"{describe_duration(run.duration_seconds)}{cost}" + (f" on {plain(run.hardware)}" if run.hardware else "")


def _saved(run: PhaseRun) -> str:
    seconds, usd = run.metrics.get("phase.saved_seconds"), run.metrics.get("phase.saved_usd")
    if not run.reused_run_id or seconds is None:
        return ""
    return describe_duration(seconds) + ("" if usd is None else f" and {describe_cost(usd)}")
