"""Define the fixed sets of words that messages, stored tags and other folders use, each once."""

from typing import Literal

Action = Literal["reuse", "resume", "run", "wait", "ask"]
"""The first word of a verdict: the treatment of a phase."""

Decide = Literal["ask", "reuse", "rerun", "beside", "fail", "wait"]
"""The values of the parameter `decide`: how a question is answered."""

Kind = Literal[
    "same",
    "old",
    "live",
    "interrupted",
    "borderline",
    "gate",
    "unknown",
    "stale",
    "downstream",
    "unseen",
    "assumed",
    "generations",
    "handover",
    "edited",
    "extended",
    "missing",
    "nothing",
    "forced",
    "beside",
    "after",
]
"""The rule that made a verdict; `docs/verdicts.md` explains each."""

Grade = Literal["good", "borderline", "poor", "unknown", "gate"]
"""How good a run is. `borderline` lies between the thresholds; `gate` is good, but a gate fails."""

State = Literal[
    "up to date",
    "stale",
    "invalidated",
    "poor",
    "borderline",
    "gate failed",
    "quality unknown",
    "failed",
    "asking",
    "quarantined",
    "missing",
    "running",
    "stuck",
    "stopped",
    "interrupted",
]
"""The state of a phase: how good its newest run is, or what is happening now."""

Doing = Literal["running", "quiet", "stuck", "stopped", "dead", "asking", "waiting", "interrupted"]
"""The activity of a run that has not ended. `quiet`: no step, but busy; `stuck`: no step, and idle."""

Whereabouts = Literal["running", "stopped", "gone", "elsewhere"]
"""The state of the process behind a heartbeat. `stopped`: suspended by SIGSTOP, Ctrl-Z or a debugger; `elsewhere`: on
another machine, in another container, or from before this machine's last boot."""

AlarmKind = Literal["stop", "warn"]
"""The consequence of an alarm on a metric: the phase ends, or a warning is logged."""

Observe = Literal["all", "project", "none"]
"""Which files a phase is watched reading: everything, those of the project and its repository, or nothing."""

External = Literal["mention", "ask", "ignore"]
"""The treatment of databases and web addresses that a phase read: they cannot be compared."""

EnvironmentPolicy = Literal["ignore", "mention", "ask", "count"]
"""The consequence when the environment file or the versions of imported packages differ."""

Link = Literal["copy", "hard"]
"""How files of a phase are put back into the project: as copies, or as hard links to those of a cache."""

Coverage = Literal["full", "python", "none"]
"""How much of what a run read could be seen: everything, only what Python itself opened, or nothing."""

ReadKind = Literal[
    "file",
    "module",
    "folder",
    "absent",
    "variable",
    "package",
    "environment file",
    "reference",
    "hub",
    "step",
    "peer",
    "unseen",
]
"""The kinds of things that a phase reads. `absent`: a path that was looked for and not found; `step`: a phase or
pipeline that it started by `mlflow.run`."""

ReadState = Literal["same", "changed", "missing", "not compared"]
"""What became of something that a run had read. `missing`: it is not there any more."""

STORED = {"borderline": "between"}
"""Words that stores of format 1 hold under an earlier name."""
