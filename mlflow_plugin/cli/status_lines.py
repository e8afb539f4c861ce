"""The texts of `status --watch`: symbols and colours of the states, progress, and sentences about changes. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mlflow_plugin.format import approximately, describe_duration
from mlflow_plugin.markdown import one_line

_BAR_WIDTH = 24


class Look(NamedTuple):
    """The symbol and the colour of a state. Symbols are unique, so that a state is readable without colours."""

    symbol: str
    style: str


LOOKS: Mapping[str, Look] = {
    "up to date": Look("✓", "green"),
    "stale": Look("↻", "yellow"),
    "invalidated": Look("⊘", "yellow"),
    "poor": Look("▼", "red"),
    "borderline": Look("◐", "yellow"),
    "gate failed": Look("‡", "red"),
    "quality unknown": Look("?", "yellow"),
    "running": Look("▶", "cyan"),
    "stuck": Look("!", "red"),
    "stopped": Look("‖", "yellow"),
    "interrupted": Look("↯", "yellow"),
    "failed": Look("✗", "red"),
    "asking": Look("»", "magenta"),
    "quarantined": Look("⊗", "red"),
    "missing": Look("○", "dim"),
}
OTHER_LOOK = Look("·", "")


def progress_share(run: Mapping[str, Any]) -> float | None:
    """Return the finished share of a running run, from 0 to 1, or None when its length is unknown."""
    step, total = run["step"], run["total"]
    return min(1.0, max(0.0, step / total)) if step is not None and total else None


def progress_position(run: Mapping[str, Any]) -> str:
    """Return the step that a running run has reached: `45/100 (45%)`, `at step 45`, or nothing."""
    share = progress_share(run)
    if share is not None:
        return f"{run['step']:g}/{run['total']:g} ({share:.0%})"
    return "" if run["step"] is None else f"at step {run['step']:g}"


def progress_facts(run: Mapping[str, Any]) -> str:
    """Return the rate, the remaining time, the age of the heartbeat, the load and the host of a running run."""
    rate, facts = run["steps_per_second"], []
    if rate:
        facts.append(f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s a step")
    if run["eta_seconds"] is not None:
        facts.append(f"{approximately(run['eta_seconds'])} left")
    if run["heartbeat_age_seconds"] is not None:
        facts.append(f"heartbeat {describe_duration(run['heartbeat_age_seconds'])} ago")
    for name, text in (("process_percent", "CPU {:.0f}% of a core"), ("gpu_percent", "GPU {:.0f}%")):
        if run.get(name) is not None:
            facts.append(text.format(run[name]))
    if run["host"]:
        facts.append(f"on {run['host']}")
    return one_line(", ".join(facts))


def progress_text(run: Mapping[str, Any]) -> str:
    """Return the progress of a running run as one line for a file or a pipe, with a bar of ASCII characters."""
    parts, share = [f"{run['short']} {run['state']}"], progress_share(run)
    if share is not None:
        filled = round(share * _BAR_WIDTH)
        parts.append(f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}]")
    if position := progress_position(run):
        parts.append(position)
    return one_line(", ".join(filter(None, [" ".join(parts), progress_facts(run)])))


def lasting_remarks(phase: Mapping[str, Any]) -> list[str]:
    """Return a phase's remarks without the one that every heartbeat changes: the progress shows that."""
    return [text for text in phase["remarks"] if "last heartbeat" not in text]


def question_lines(question: Mapping[str, Any]) -> list[str]:
    """Return an open question as lines: its reasons, its options with prices, and the command that answers it."""
    lines = [f"{question['phase']} {question['short']} asks: {'; '.join(question['reasons'])}"]
    lines += [f"    {option['letter']}) {option['title']} ({option['price']})" for option in question["options"]]
    lines.append(f"    mlflow-phases answer {question['run_id']} LETTER")
    # `one_line` would remove the indentation.
    return [line[: len(line) - len(line.lstrip())] + one_line(line) for line in lines]


def state_sentences(pipeline: Mapping[str, Any]) -> dict[str, str]:
    """Return the state of each phase of a `pipeline_view` as one sentence, by phase."""
    return {
        phase["phase"]: one_line("; ".join([f"{phase['phase']}: {phase['label']}", *lasting_remarks(phase)]))
        for phase in pipeline["phases"]
    }


def changed_sentences(before: Mapping[str, str], pipeline: Mapping[str, Any]) -> dict[str, str]:
    """Return the state sentences that differ from those in `before`, by phase."""
    return {name: text for name, text in state_sentences(pipeline).items() if before.get(name) != text}
