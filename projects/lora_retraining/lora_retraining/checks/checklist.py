"""Hold the result of each check, and list all of them for the terminal, as Markdown and as plain data."""

import dataclasses
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlflow_plugin.errors import PhaseError, UsageError

_logger = logging.getLogger(__name__)

Status = Literal["pass", "warn", "fail", "skip", "overridden"]

CHECKS = {
    "base_precision": "base model is in full precision",
    "scripts": "scripts load nothing quantised",
    "adapter": "no adapter of another base",
    "tokenizer": "tokenizer, chat template and end token",
    "packages": "versions of packages",
    "device": "device to train on",
    "memory": "memory for training and merging",
    "disk": "disk for checkpoints and the merged model",
    "data": "training and test data",
    "cost": "time and cost of the training",
    "overlap": "no test task among the training rows",
}
"""Every check by the name that `override` takes, in order."""
REFUSALS_OF_MERGE = ("base_digest",)
"""Names in the same parameter that mean nothing here."""


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        detail: The facts that were seen.
        remedy: The action to take, "" if there is none.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""

    @property
    def title(self) -> str:
        return CHECKS[self.name]


def override(checks: Sequence[Check], names: Collection[str]) -> list[Check]:
    """Mark the failed checks among these names as overridden. Raise UsageError for an unknown name."""
    unknown = sorted(set(names) - CHECKS.keys() - set(REFUSALS_OF_MERGE))
    if unknown:
        raise UsageError(f"override names no check: {', '.join(unknown)}. There are {', '.join(CHECKS)}.")
    return [
        dataclasses.replace(check, status="overridden") if check.status == "fail" and check.name in names else check
        for check in checks
    ]


def refuse_failed(checks: Sequence[Check]) -> None:
    """Raise PhaseError that names every failure, if there is one. Log those that were overridden as warnings."""
    for check in checks:
        if check.status == "overridden":
            _logger.warning(f"OVERRIDDEN, and everything that follows stands on it: {check.title}: {check.detail}")
    failed = [check for check in checks if check.status == "fail"]
    if not failed:
        return
    failures = "\n".join(f"  {check.name}: {check.detail}\n    {check.remedy}" for check in failed)
    raise PhaseError(
        f"preflight refuses this training: {len(failed)} of {len(checks)} checks failed.\n{failures}\n"
        f"Fix that and run preflight again. To continue anyway: -P override={','.join(check.name for check in failed)}"
    )


def as_text(checks: Sequence[Check]) -> str:
    """Return the checklist for a terminal, one check a line, with the remedy below it."""
    width = max(len(check.title) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"  {check.status.upper():<10} {check.title:<{width}}  {check.detail}")
        if check.remedy and check.status != "pass":
            lines.append(f"  {'':<10} {'':<{width}}  -> {check.remedy}")
    return "\n".join(lines)


def as_markdown(checks: Sequence[Check]) -> str:
    """Return the checklist as a table."""
    rows = [(check.status, check.title, check.detail, check.remedy) for check in checks]
    cells = [" | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    return "\n".join(["| status | check | seen | what to do |", "|---|---|---|---|", *(f"| {row} |" for row in cells)])


def as_data(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checklist as a JSON object: `checks`, and how many there are of each status."""
    counts = {status: sum(check.status == status for check in checks) for status in Status.__args__}
    return {"checks": [{"title": check.title, **dataclasses.asdict(check)} for check in checks], "counts": counts}


def metrics(checks: Sequence[Check]) -> dict[str, float]:
    """Count the checks that failed, were overridden or warned."""
    names = {"fail": "preflight_failed", "overridden": "preflight_overridden", "warn": "preflight_warned"}
    return {name: sum(check.status == status for check in checks) for status, name in names.items()}
