"""A phase that goes on from the end of a shorter run: which values continue it, and what becomes of the verdict."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.extension import grows
from mlflow_plugin.decision.facts import Candidate, Evidence, Shorter, superseded_run
from mlflow_plugin.decision.rules import decide, force
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.run import PhaseRun

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TRAIN = Phase("train", "python train.py", {}, extend=("epochs",))
SHORT = PhaseRun("5407700000", "train", completed_at=NOON, checkpoint="step-000010")
SHORTER = Shorter(SHORT, "epochs 10 -> 12")
LATER = PhaseRun("1a7e000000", "steer", completed_at=NOON, metrics={"phase.duration_seconds": 900.0})
SLOW = Estimate(660.0, 600.0, 700.0, 3, True, 0.43)


def evidence(**more: object) -> Evidence:
    return replace(Evidence(TRAIN, shorter=lambda: SHORTER, estimate=lambda: SLOW), **more)


@pytest.mark.parametrize(
    ("names", "values", "logged", "said"),
    [
        ({"epochs"}, {"epochs": 12}, {"epochs": "10"}, "epochs 10 -> 12"),
        ({"a", "b"}, {"a": 2, "b": 0.5}, {"a": "1", "b": "0.25"}, "a 1 -> 2, b 0.25 -> 0.5"),
        ({"epochs"}, {"epochs": 10}, {"epochs": "12"}, ""),
        ({"epochs"}, {"epochs": 10}, {"epochs": "10"}, ""),
        ({"a", "b"}, {"a": 2, "b": 1}, {"a": "1", "b": "2"}, ""),
        ({"epochs"}, {"epochs": 12}, {}, ""),
        ({"epochs"}, {"epochs": "many"}, {"epochs": "10"}, ""),
        ({"epochs"}, {"epochs": 12}, {"epochs": "nan"}, ""),
    ],
)
def test_all_that_differs_must_be_a_number_that_has_grown(names: set[str], values: dict, logged: dict, said: str):
    assert grows(names, values, logged) == said


def test_a_phase_that_would_be_computed_goes_on_from_the_shorter_run():
    verdict = decide(evidence())
    assert (verdict.action, verdict.kind, verdict.run_id) == ("resume", "extended", SHORT.run_id)
    assert verdict.reasons[0] == (
        "goes on from step-000010 of train 54077000 of 2026-01-02 12:00:00 UTC (epochs 10 -> 12), which stays as it is"
    )


def test_a_question_that_offers_to_compute_offers_to_go_on():
    stale = superseded_run(Phase("steer", "true", {}), LATER)
    verdict = decide(evidence(current=lambda: SHORT, downstream=lambda: [stale]))
    assert (verdict.action, verdict.kind) == ("ask", "downstream")
    assert verdict.reasons[-1].startswith("it goes on from step-000010")
    keep, again, beside, cancel = verdict.options
    assert (keep.action, cancel.decide) == ("reuse", "fail")
    for option in (again, beside):
        assert (option.action, option.run_id) == ("resume", SHORT.run_id)
    assert again.title.startswith("Go on from step-000010 of 54077000")


def test_a_reuse_a_forced_run_and_a_phase_without_extend_stand_as_they_are():
    good = Candidate(PhaseRun("900d000000", "train", completed_at=NOON))
    assert decide(evidence(same=[good])).action == "reuse"
    assert force(evidence()).action == "run"
    assert decide(evidence(phase=replace(TRAIN, extend=()))).action == "run"
