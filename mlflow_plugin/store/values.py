"""The metrics that say what a run was worth: their values when it completed, kept with the run.

MLflow shows the value with the highest step. A metric that is logged at every step and once more at the end, without a
step, would be read as its value at the last step.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from mlflow_plugin.markdown import one_line
from mlflow_plugin.store import schema
from mlflow_plugin.store.untrusted import number

_NAMES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def last_values(client: MlflowClient, run_id: str, names: Iterable[str]) -> dict[str, float]:
    """Return the value of each metric that a run logged last in time; a metric that it never logged is left out.

    Raises:
        MlflowException: The store does not answer.
    """
    values = {}
    for name in sorted(set(names)):
        if history := client.get_metric_history(run_id, name):
            values[name] = with_infinity(last_logged(history).value)
    return values


def last_logged(history: Sequence[Metric]) -> Metric:
    """Return the value of a metric that was logged last.

    Times have milliseconds. Values of the same millisecond are told apart by their order, where the store keeps it
    (files), and else by their steps, which count up: a step below an earlier one was not logged in the loop but after
    it, and so was step 0 beside later steps than 1.

    Args:
        history: All values, in the order in which the store gives them.
    """
    newest = max(metric.timestamp for metric in history)
    tied = [metric for metric in history if metric.timestamp == newest]
    if tied != sorted(tied, key=lambda metric: metric.step):
        return tied[-1]
    earlier = max((metric.step for metric in history if metric.timestamp < newest), default=None)
    if earlier is not None:
        after = [metric for metric in tied if metric.step < earlier]
    else:
        after = [metric for metric in tied if metric.step == 0 and all(other.step != 1 for other in tied)]
    return (after or tied)[-1]


def with_infinity(value: float) -> float:
    """Return infinity for the largest number, which databases of MLflow hold in its place."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value


def kept_values(values: Mapping[str, float]) -> dict[str, str]:
    """Return the tag that keeps the values with a run; none without values. NaN and infinities are kept by name."""
    kept: dict[str, float | str] = {}
    for name, value in values.items():
        longer = {**kept, name: value if math.isfinite(value) else str(value)}
        if len(_text(longer)) <= schema.TAG_LENGTH:
            kept = longer
    return {schema.VALUES: _text(kept)} if kept else {}


def _text(values: Mapping[str, float | str]) -> str:
    return json.dumps(values, separators=(",", ":"), allow_nan=False)


def are_values(content: Mapping[str, object]) -> str:
    """Say that the content of a tag is not what `kept_values` writes; empty when it is."""
    wrong = [name for name, value in content.items() if _value(value) is None]
    if wrong:
        return f"has no number for {one_line(wrong[0])[:100]}"
    return "" if content else "keeps no value"


def read_values(content: Mapping[str, object]) -> dict[str, float]:
    """Return the values that `kept_values` wrote, from the content of its tag. Anything else in it is left out."""
    return {name: read for name, value in content.items() if (read := _value(value)) is not None}


def _value(value: object) -> float | None:
    return _NAMES.get(value) if isinstance(value, str) else number(value)
