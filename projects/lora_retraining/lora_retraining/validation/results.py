"""Report the results of a validation: as data, as metrics, and as text for the run's page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from projects_common.statistics import paired_difference, wilson

from lora_retraining.data.tasks import shortened
from lora_retraining.validation.failure_signatures import FailureSignature
from lora_retraining.validation.gates import Counts, Gate, Judged, Verdict, judge_all, overall
from lora_retraining.validation.outcomes import TIES, Item, count, of_dataset
from lora_retraining.validation.references import Baseline
from mlflow_plugin.markdown import plain

VERDICT_METRIC: Mapping[Verdict, float] = {"pass": 1.0, "undecided": 0.5, "fail": 0.0}


def judge_items(items: Sequence[Item], gates: Sequence[Gate], baseline: Baseline) -> list[Judged]:
    """Judge every gate by the items of its dataset; those against a baseline only if there is one."""
    right = None if baseline.right is None else dict(baseline.right)

    def counts(dataset: str) -> Counts:
        return replace(count(of_dataset(items, dataset), right), baseline=baseline.counts.get(dataset))

    compared = [gate for gate in gates if gate.measure != "baseline_ratio" or baseline != Baseline()]
    return judge_all(compared, counts)


def by_dataset(items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Return the results on all items, on each kind and on each test set, with 95% intervals."""
    names = ["all", *sorted({item.task.kind for item in items}), *sorted({item.task.dataset for item in items})]
    return {name: _found(of_dataset(items, name)) for name in dict.fromkeys(names)}


def _found(items: Sequence[Item]) -> dict[str, Any]:
    counts = count(items)
    outcomes = {name: sum(item.outcome == name for item in items) for name in ("win", *TIES, "both_wrong", "loss")}
    gain = paired_difference(counts.against_reference)
    return {
        "tasks": len(items),
        "graded": counts.graded,
        "right": counts.right,
        "accuracy": asdict(wilson(counts.right, counts.graded)),
        "compared": counts.compared,
        "wins": outcomes["win"],
        "ties_both_right": outcomes["tie_both_right"],
        "ties_by_judge": outcomes["tie"],
        "both_wrong": outcomes["both_wrong"],
        "losses": outcomes["loss"],
        "judged": sum(item.decided_by == "judge" for item in items),
        "gain": asdict(gain) if counts.against_reference.count else None,
        "cut": sum(item.cut for item in items),
        "reference_cut": sum(item.reference_cut for item in items),
    }


def table(items: Sequence[Item]) -> dict[str, list[Any]]:
    """Return the items by column, as `mlflow.log_table` takes them, nested values as columns of their own.

    Long texts are shortened, since the page loads all of it. The whole texts are in items.jsonl.
    """
    rows = [{**item.row(), "answer": item.task.answer} for item in items]
    for row in rows:
        for side in ("", "reference_"):
            graded = row.pop(f"{side}grade") or {}
            row |= {f"{side}{name}": graded.get(name) for name in ("correct", "reason", "extracted")}
    first = ("id", "outcome", "correct", "reference_correct", "answer", "completion", "reference_completion")
    names = [*first, *(name for name in rows[0] if name not in first)] if rows else []
    return {name: [shortened(row[name]) for row in rows] for name in names}


def metrics(result: Mapping[str, Mapping[str, Any]], judged: Sequence[Judged]) -> dict[str, float]:
    """Return shares, not per cent. `accuracy` is on all tasks; `math_...`, `code_...` on those of a kind."""
    logged = {
        "validation_verdict": VERDICT_METRIC[overall(judged)],
        "red_flags": sum(one.is_red_flag for one in judged),
    }
    for name in ("all", "math", "code", "open"):
        if name in result:
            logged |= _metrics_of(result[name], "" if name == "all" else f"{name}_")
    logged["completions_cut"] = result["all"]["cut"] / max(1, result["all"]["tasks"])
    return logged


def _metrics_of(result: Mapping[str, Any], prefix: str) -> dict[str, float]:
    logged: dict[str, float] = {}
    if result["graded"]:
        logged |= _interval(f"{prefix}accuracy", result["accuracy"])
    if result["gain"]:
        logged |= _interval(f"{prefix}accuracy_gain", result["gain"])
    if compared := result["compared"]:
        logged |= {
            f"{prefix}wins": result["wins"] / compared,
            f"{prefix}ties": (result["ties_both_right"] + result["ties_by_judge"]) / compared,
            f"{prefix}both_wrong": result["both_wrong"] / compared,
            f"{prefix}losses": result["losses"] / compared,
        }
    return logged


def _interval(name: str, interval: Mapping[str, float]) -> dict[str, float]:
    return {name: interval["point"], f"{name}_low": interval["low"], f"{name}_high": interval["high"]}


def description(results: Mapping[str, Any], judged: Sequence[Judged], resembled: Sequence[FailureSignature]) -> str:
    """Describe the verdict, every gate with its interval, the outcomes and the failure signatures, as Markdown."""
    parts = [f"**Verdict: {results['verdict']}.** {_sentence(results['verdict'], judged)}"]
    if judged:
        lines = [
            "| gate | success | red flag | value | 95% interval | samples | verdict |",
            "|---|---|---|---|---|---|---|",
        ]
        parts.append("\n".join([*lines, *map(_gate_row, judged)]))
    parts.append(_outcomes(results))
    if missing := results["missing_reference"]:
        parts.append(f"The reference has no answer to {len(missing)} tasks: {plain(', '.join(missing[:10]))}.")
    if resembled:
        result = [f"- {'**' if one.resembles else ''}{one.name}: " + _resembled(one) for one in resembled]
        parts.append("What it resembles:\n\n" + "\n".join(result))
    return "\n\n".join(parts)


def _sentence(verdict: str, judged: Sequence[Judged]) -> str:
    if not judged:
        return "There are no gates to judge it by."
    doubtful = [f"{one.gate.name}: {one.why}" for one in judged if one.verdict == verdict != "pass"]
    return f"{'; '.join(doubtful)}." if doubtful else f"All {len(judged)} gates are passed."


def _gate_row(one: Judged) -> str:
    interval = one.interval
    value, limits = (
        ("-", "-") if interval is None else (f"{interval.point:.1%}", f"{interval.low:.1%} to {interval.high:.1%}")
    )
    better = "at most" if one.gate.sign < 0 else "at least"
    worse = "above" if one.gate.sign < 0 else "below"
    more = f", {one.more_samples:,} more samples would decide" if one.more_samples else ""
    flag = " (red flag)" if one.is_red_flag else ""
    return (
        f"| {plain(one.gate.name)} | {better} {one.gate.success:.1%} | {worse} {one.gate.red_flag:.1%} | {value}{flag} "
        f"| {limits} | {one.samples} | {one.verdict}{more} |"
    )


def _outcomes(results: Mapping[str, Any]) -> str:
    lines = [
        f"Against {plain(results['reference'])}:\n",
        "| tasks | number | right | 95% interval | wins | ties, both right | ties, judged | losses | both wrong |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results["datasets"].items():
        accuracy = result["accuracy"]
        lines.append(
            f"| {plain(name)} | {result['tasks']} | {result['right']} of {result['graded']} | {accuracy['low']:.1%} to "
            f"{accuracy['high']:.1%} | {result['wins']} | {result['ties_both_right']} | {result['ties_by_judge']} "
            f"| {result['losses']} | {result['both_wrong']} |"
        )
    judged = results["datasets"]["all"]["judged"]
    return "\n".join(lines) + (f"\n\nA judge decided {judged} of these, where nothing objective did." if judged else "")


def _resembled(one: FailureSignature) -> str:
    return f"yes.** {plain(one.evidence)}" if one.resembles else f"no. {plain(one.evidence)}"
