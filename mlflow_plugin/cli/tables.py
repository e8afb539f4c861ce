"""Texts for the terminal: a plan, the state of a pipeline, and the checkpoints that `gc` lists."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlflow_plugin.decision.quality import quality_cell
from mlflow_plugin.decision.verdict import Plan, Verdict
from mlflow_plugin.execution.prompt import indented, question_text
from mlflow_plugin.format import approximately, clock, describe_cost, describe_duration
from mlflow_plugin.reports.tables import aligned, cost_cell, duration_cell

if TYPE_CHECKING:
    from mlflow_plugin.checkpoints.garbage_collection import RunGarbage
    from mlflow_plugin.decision.explanation import Explanation
    from mlflow_plugin.reports.status import PhaseState


def verdict_text(verdict: Verdict) -> str:
    """Return a verdict as text: the action, the reasons, the expected cost, and for a question its options."""
    if verdict.action == "ask":
        return f"{verdict.phase}: ask\n{question_text(verdict).partition(chr(10))[2]}"
    lines = [f"{verdict.phase}: {verdict.action}", *(f"  {indented(reason)}" for reason in verdict.reasons)]
    lines += [f"  step {step}" for step in (verdict.observed.steps if verdict.observed else ())]
    if verdict.action in ("run", "resume") and verdict.estimate:
        expected = verdict.estimate
        other = "" if expected.like_hardware else ", measured on other hardware"
        cost = "" if expected.cost_usd is None else f", {describe_cost(expected.cost_usd)}"
        lines.append(
            f"  expected: {describe_duration(expected.seconds)}{cost} "
            f"(from {expected.runs} earlier run{'s' if expected.runs > 1 else ''}{other})"
        )
    return "\n".join(lines)


def plan_text(plan: Plan) -> str:
    """Return a plan as text: one verdict a phase, then the expected time and cost of all computed phases."""
    parts, actions = [verdict_text(verdict) for verdict in plan.verdicts], {verdict.action for verdict in plan.verdicts}
    # With an open question the computed phases depend on the answer, and each option has its own price.
    if "ask" not in actions and plan.seconds is not None:
        cost = "" if plan.cost_usd is None else f" and {describe_cost(plan.cost_usd)}"
        parts.append(f"in all {approximately(plan.seconds)}{cost} to compute")
    elif actions == {"reuse"}:
        parts.append("nothing to compute")
    return "\n".join(parts)


def explanation_text(explanation: "Explanation") -> str:
    """Return an explanation as text: the verdict, the run that it was compared with, and one line an item."""
    parts = [verdict_text(explanation.verdict)]
    run = explanation.run
    if run is None:
        parts.append("no run to compare with")
    else:
        parts.append(f"compared with {run.phase} {run.short} of {clock(run.when)}:")
    rows = [(item.section, item.name, item.state, item.remark) for item in explanation.items]
    if rows:
        parts.append(aligned(("what", "name", "state", "detail"), rows))
    return "\n\n".join(parts)


def status_table(states: Sequence["PhaseState"]) -> str:
    """Return the state of a pipeline as text: one line a phase, and below the table the remarks."""
    rows = [
        (
            f"{state.phase.name} ({len(state.run.members)} runs)"
            if state.run and state.run.members
            else state.phase.name,
            state.state,
            clock(state.run.completed_at) if state.run and state.run.completed_at else "",
            quality_cell(state.phase, state.run),
            state.matches,
            duration_cell(state.run.duration_seconds) if state.run else "",
            cost_cell(state.run.cost_usd) if state.run else "",
            state.run.short if state.run else "",
        )
        for state in states
    ]
    table = aligned(("phase", "state", "completed at", "quality", "matches upstream", "duration", "cost", "run"), rows)
    remarks = [f"{state.phase.name}: {indented(remark)}" for state in states for remark in state.remarks]
    remarks += [f"{state.phase.name} calls {', '.join(state.steps)}" for state in states if state.steps]
    return "\n".join([table, *([""] if remarks else []), *remarks])


def bytes_text(count: int) -> str:
    """Return a size with a unit: `12.4 MiB`."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def _some(names: Sequence[str]) -> str:
    return (", ".join(names) or "none") if len(names) <= 3 else f"{len(names)}, newest {names[-1]}"


def garbage_table(garbage: Sequence["RunGarbage"], *, deleted: bool) -> str:
    """Return the checkpoints that `gc` lists or has removed as text: one line a run, and the sum."""
    if not garbage:
        return "no run of this project's phases holds a checkpoint"
    rows = [
        (
            one.run.phase,
            one.run.short,
            str(one.checkpoints),
            bytes_text(one.held_bytes),
            _some(one.removal.kept) if one.removal else "all",
            bytes_text(one.freed_bytes),
            one.why,
        )
        for one in garbage
    ]
    table = aligned(("phase", "run", "checkpoints", "size", "kept", "removed" if deleted else "to remove", "why"), rows)
    freed = sum(one.freed_bytes for one in garbage)
    total = f"{bytes_text(freed)} ({freed:,} bytes)"
    if deleted:
        return f"{table}\n{total} removed"
    return f"{table}\n" + (f"{total} can be removed: add --delete" if freed else "nothing to remove")
