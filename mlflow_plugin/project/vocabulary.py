"""The fixed sets of words that people and programs meet, each defined once."""

from typing import Literal

Action = Literal["reuse", "resume", "run", "wait", "ask"]
"""What is done with a phase: the first word of a verdict."""

Decide = Literal["ask", "reuse", "rerun", "fail", "wait"]
"""Who answers a question: the values of `decide`."""

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
    "missing",
    "nothing",
    "forced",
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
"""How a phase stands: what its newest run is worth, or what goes on now."""

STORED = {"borderline": "borderline"}
"""Words that stand in stores under an earlier name."""
