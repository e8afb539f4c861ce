"""Tell from a heartbeat, in words, whether a run is stuck or only quiet. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlflow_plugin.format import clock, describe_duration
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.vocabulary import Doing, Whereabouts
from mlflow_plugin.store.run import PhaseRun

BUSY_PERCENT = 5.0
"""From this much of one core, or of the GPUs, on a process counts as busy."""
_USUAL_STEPS = 10.0
_QUIET_SECONDS = 60.0
_IDLE_SECONDS = 300.0


class Activity(NamedTuple):
    """A state (running, quiet, stuck, stopped or dead) and a sentence. Quiet: no step for long, but busy. Stuck: no
    step, and idle.
    """

    state: Doing
    sentence: str


def activity(run: PhaseRun, where: Whereabouts, alive: bool, silent_seconds: float) -> Activity:
    """Judge a run that has not ended.

    Args:
        run: The run.
        where: The result of `liveness.whereabouts` for its process.
        alive: Whether it counts as alive.
        silent_seconds: Seconds since its last heartbeat.
    """
    content = run.heartbeat
    step = f" at step {_step(content)}" if content.get("step") is not None else ""
    heard = f"last heartbeat {describe_duration(max(0.0, silent_seconds))} ago"
    if not alive:
        resumable = f"; resumable from {run.checkpoint}" if run.checkpoint else ""
        still = f" (process {content.get('pid')} stands still)" if where == "stopped" else ""
        return Activity("dead", f"{run.short} stopped{step} without ending{still}{resumable}")
    if where == "stopped":
        return Activity(
            "stopped",
            f"{run.short} stands still{step}: process {content.get('pid')} was stopped "
            f"(SIGSTOP, Ctrl-Z or a debugger); "
            f"{heard}. `kill -CONT {content.get('pid')}` resumes it; until then any start may take over its work",
        )
    sentence = f"{run.short} is running{step}; {heard}"
    waited = _number(content, "since_step")
    if waited is None:
        return Activity("running", sentence)
    waited += max(0.0, silent_seconds)
    usual = _number(content, "seconds_per_step")
    load = _load(content)
    pace = f", usually one every {_short_time(usual)}" if usual is not None else ""
    since = f"no step was finished for {describe_duration(waited)}{pace}{f'; {load}' if load else ''}"
    patience = max(_QUIET_SECONDS, _USUAL_STEPS * (usual or 0.0))
    if waited < patience:
        return Activity("running", f"{sentence}{pace}{f'; {load}' if load else ''}")
    if _is_busy(content) is not False:
        return Activity("quiet", f"{sentence}; {since}: busy, only quiet")
    if waited < max(_IDLE_SECONDS, patience):
        return Activity("quiet", f"{sentence}; {since}: idle, but not for long")
    return Activity(
        "stuck",
        f"{sentence}; {since}: it looks stuck. See where with `py-spy dump --pid {content.get('pid')}` on "
        f"{content.get('host')}, "
        f"or end it with `kill {content.get('pid')}` there and start it again"
        + (f": it resumes from {run.checkpoint}" if run.checkpoint else ""),
    )


def lost_heartbeat(run: PhaseRun) -> str:
    """Say that a run lost its heartbeat, and when the last one was."""
    at, step = _number(run.heartbeat, "at"), run.heartbeat.get("step")
    heard = f"last one {clock(datetime.fromtimestamp(at, UTC))}" if at is not None else "there was none"
    return f"lost heartbeat: {heard}{f' at step {step}' if step is not None else ''}"


def how_to_resume(run: PhaseRun, invocation: Invocation) -> str:
    """Return the command that gets a dead run's work done."""
    # With `decide=rerun` it would not resume from the checkpoint.
    given = {name: value for name, value in invocation.parameters.items() if name != "decide"}
    command = replace(invocation, parameters=given).command()
    return f"`{command}` " + (f"resumes from {run.checkpoint}" if run.checkpoint else "starts it again")


def _number(content: Mapping[str, Any], name: str) -> float | None:
    value = content.get(name)
    # Beyond that no clock goes, and `datetime` does not either.
    return float(value) if isinstance(value, int | float) and abs(value) < 2e11 else None


def _step(content: Mapping[str, Any]) -> str:
    total = content.get("total")
    return f"{content['step']} of {total}" if total else str(content["step"])


def _short_time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else describe_duration(seconds)


def _is_busy(content: Mapping[str, Any]) -> bool | None:
    """Return whether the process computes; None when nothing is known of it."""
    known = [value for name in ("process_percent", "gpu_percent") if (value := _number(content, name)) is not None]
    return max(known) >= BUSY_PERCENT if known else None


def _load(content: Mapping[str, Any]) -> str:
    formats = {
        "process_percent": "CPU {:.0f}% of a core",
        "cpu_percent": "machine {:.0f}%",
        "gpu_percent": "GPU {:.0f}%",
    }
    known = [text.format(value) for name, text in formats.items() if (value := _number(content, name)) is not None]
    return ", ".join(known)
