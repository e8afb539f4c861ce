import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.decision.question import question_json
from mlflow_plugin.decision.verdict import Option, SupersededRun, Verdict
from mlflow_plugin.store.schema import TAG_LENGTH

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def question(losses: int, reason: str = "why", title: str = "Run it again", metric: str = "fidelity") -> Verdict:
    lost = tuple(SupersededRun("steer", f"{number:032x}", 0.9, metric, NOON, 60.0, 0.4) for number in range(losses))
    keep = Option("A", "reuse", "Keep it", tuple(loss.sentence() for loss in lost))
    again = Option("B", "rerun", title, (), lost, ("train", "steer"), 120.0, 0.8)
    return Verdict("train", "ask", (reason,), "downstream", options=(keep, again))


def test_a_question_can_be_read_back_with_all_that_its_options_say():
    content = json.loads(question_json(question(2)))
    assert (content["kind"], content["reasons"]) == ("downstream", ["why"])
    keep, again = content["options"]
    assert (keep["letter"], keep["decide"], len(keep["keeps"]), keep["throws_away"]) == ("A", "reuse", 2, [])
    assert again["throws_away"][0] == {
        "phase": "steer",
        "run_id": "0" * 32,
        "quality": 0.9,
        "metric": "fidelity",
        "finished_at": "2026-03-01T12:00:00+00:00",
        "duration_seconds": 60.0,
        "cost_usd": 0.4,
    }
    assert (again["reruns"], again["seconds"], again["cost_usd"]) == (["train", "steer"], 120.0, 0.8)


@pytest.mark.parametrize("losses", [0, 1, 40, 41, 5000])
def test_losses_that_do_not_fit_are_counted(losses):
    text = question_json(question(losses))
    again = json.loads(text)["options"][1]
    assert len(text) <= TAG_LENGTH
    assert len(again["throws_away"]) + again["not_listed"] == losses
    assert not losses or again["throws_away"]


@given(losses=st.integers(0, 200), reason=st.integers(0, 20_000), title=st.integers(0, 20_000))
def test_a_question_of_any_length_is_valid_json_that_fits_into_a_tag_and_can_still_be_answered(losses, reason, title):
    text = question_json(question(losses, "ü" * reason, "é" * title))
    assert len(text) <= TAG_LENGTH
    assert [(option["letter"], option["decide"]) for option in json.loads(text)["options"]] == [
        ("A", "reuse"),
        ("B", "rerun"),
    ]


def test_a_quality_that_is_not_a_number_leaves_valid_json():
    lost = SupersededRun("steer", "ab" * 16, float("nan"), "fidelity", None, None, None)
    verdict = Verdict("train", "ask", ("why",), options=(Option("B", "rerun", "again", (), (lost,)),))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(question_json(verdict), parse_constant=refuse)
    assert content["options"][0]["throws_away"][0]["quality"] is None
