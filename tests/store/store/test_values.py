"""The value of a metric that counts is the one that was logged last, and it stays with the run."""

import json
import math

import pytest
from mlflow.entities import Metric

from mlflow_plugin.store import schema
from mlflow_plugin.store.values import kept_values, last_logged, last_values, read_values


def metrics(*points: tuple[int, int, float]) -> list[Metric]:
    """Return a history from (time in ms, step, value)."""
    return [Metric("accuracy", value, time, step) for time, step, value in points]


@pytest.mark.parametrize(
    ("history", "value"),
    [
        ([(1, 0, 0.1)], 0.1),
        ([(1, 9, 0.5), (2, 0, 0.9)], 0.9),
        ([(2, 0, 0.9), (1, 9, 0.5)], 0.9),
        ([(1, 0, 0.1), (2, 0, 0.9), (2, 1, 0.5)], 0.5),
        ([(1, 0, 0.1), (2, 8, 0.3), (3, 0, 0.9), (3, 9, 0.5)], 0.9),
        ([(1, 0, 0.9), (1, 9, 0.5)], 0.9),
        ([(1, 0, 0.1), (1, 1, 0.2), (1, 2, 0.3)], 0.3),
        ([(1, 9, 0.5), (1, 0, 0.9)], 0.9),
        ([(1, 5, 0.5), (1, 9, 0.9), (1, 5, 0.7)], 0.7),
    ],
    ids=[
        "one",
        "without a step at the end",
        "in any order",
        "a loop that is fast",
        "the last step and the end in one millisecond",
        "nothing else than those two",
        "all steps in one millisecond",
        "a store that keeps the order",
        "a step twice",
    ],
)
def test_the_value_that_was_logged_last_counts(history, value):
    assert last_logged(metrics(*history)).value == value


def test_the_last_value_is_kept_at_completion_and_nothing_later_changes_the_grade(demo):
    demo.compute("collect")
    run_id, decision = demo.start("train")
    for step in range(3):
        demo.client.log_metric(run_id, "fidelity", 0.1, step=step)
    demo.finish(run_id, decision, {"a": "1"}, {"fidelity": 0.9, "held_out": 0.8}, 1.0)
    assert demo.client.get_run(run_id).data.metrics["fidelity"] == 0.1
    assert json.loads(demo.tags(run_id)[schema.VALUES]) == {"fidelity": 0.9, "held_out": 0.8}
    demo.client.log_metric(run_id, "fidelity", 0.2, step=50)
    assert demo.run(run_id).metrics["fidelity"] == 0.9
    assert demo.action("train") == ("reuse", "same")
    assert demo.latest("train") == run_id


def test_a_metric_that_was_never_logged_may_be_logged_later(demo):
    demo.compute("collect")
    run_id = demo.compute("train", metrics={"held_out": 0.8})
    assert demo.action("train") == ("ask", "unknown")
    demo.client.log_metric(run_id, "fidelity", 0.9)
    assert demo.action("train") == ("reuse", "same")


def test_what_is_not_finite_is_read_from_the_store_as_it_was_logged(demo):
    run_id, _ = demo.start("collect")
    for name, value in {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}.items():
        demo.client.log_metric(run_id, name, value)
    values = last_values(demo.client, run_id, ["a", "b", "c", "d", "absent"])
    assert str(values) == "{'a': nan, 'b': inf, 'c': -inf, 'd': 1.5}"
    tag = kept_values(values)[schema.VALUES]
    assert json.loads(tag) == {"a": "nan", "b": "inf", "c": "-inf", "d": 1.5}
    assert str(read_values(json.loads(tag))) == str(values)


def test_values_that_do_not_fit_into_a_tag_are_left_out_whole():
    tag = kept_values({f"{'metric' * 40}{number}": float(number) for number in range(100)})[schema.VALUES]
    assert len(tag) <= schema.TAG_LENGTH
    assert 20 < len(json.loads(tag)) < 100
    assert kept_values({}) == {}


def test_a_damaged_tag_keeps_nothing():
    assert read_values({"a": "high", "b": None, "c": [1], "d": True, "e": 1, "f": "nan "}) == {"e": 1.0}
