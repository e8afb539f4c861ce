"""Money and time: spent, saved and superseded work, the bottleneck, and the table across models."""

import json
import time

import pytest

from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.reports.views.accounts import accounts_view
from mlflow_plugin.store import schema

DOLLAR_A_MINUTE = "60"


@pytest.fixture(autouse=True)
def _price(monkeypatch):
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", DOLLAR_A_MINUTE)


def view(demo) -> dict:
    return json.loads(json.dumps(accounts_view(demo.history()).to_json(), allow_nan=False))


def rows(found: dict) -> dict[str, dict]:
    return {row["phase"]: row for row in found["phases"]}


def with_models(demo) -> None:
    """Lets the first phase say which model it is about."""
    demo.edit("MLproject", "seed: {type: int, default: 0}", "preset: {type: string, default: tiny}")


def test_nothing_was_spent_where_nothing_was_run(demo):
    found = view(demo)
    assert (found["total"]["spent_usd"], found["counted_runs"], found["truncated"]) == (0, 0, False)
    assert (found["bottleneck"], found["hardware"], found["baseline"]["columns"]) == (None, [], [])


def test_what_was_computed_is_spent_and_what_was_reused_is_saved(demo):
    demo.compute("collect", seconds=60.0)
    demo.compute("train", seconds=600.0)
    demo.settle("collect")
    demo.settle("train")
    demo.settle("train")
    found = view(demo)
    train = rows(found)["train"]
    assert (train["runs"], train["reuses"]) == (1, 2)
    assert (train["spent_seconds"], train["spent_usd"]) == (600.0, pytest.approx(10.0))
    assert (train["saved_seconds"], train["saved_usd"]) == (1200.0, pytest.approx(20.0))
    assert found["total"] | {"superseded_usd": 0} == {
        "runs": 2,
        "reuses": 3,
        "spent_seconds": 660.0,
        "spent_usd": pytest.approx(11.0),
        "saved_seconds": 1260.0,
        "saved_usd": pytest.approx(21.0),
        "superseded_seconds": 0,
        "superseded_usd": 0,
    }


def test_work_that_a_new_result_invalidates_counts_as_superseded(demo):
    demo.compute("collect", "one", seconds=60.0)
    demo.compute("train", seconds=600.0)
    demo.compute("collect", "two", seconds=60.0)
    found = view(demo)
    assert rows(found)["collect"]["superseded_seconds"] == 60.0
    assert rows(found)["train"]["superseded_usd"] == pytest.approx(10.0)
    assert found["total"]["superseded_seconds"] == 660.0


def test_a_pipeline_adds_up_its_phases(demo):
    demo.edit("MLproject", "    pipeline: [evaluate]", "    pipeline: [train]")
    demo.compute("collect", seconds=60.0)
    demo.compute("train", seconds=600.0)
    demo.compute("evaluate", seconds=30.0)
    found = view(demo)
    assert [(row["pipeline"], row["spent_seconds"]) for row in found["pipelines"]] == [("main", 660.0)]
    assert found["total"]["spent_seconds"] == 690.0


def test_a_run_that_failed_took_time_too_until_its_last_heartbeat_at_the_price_of_its_hardware(demo):
    demo.compute("collect", seconds=60.0)
    run_id, _ = demo.start("collect", seed=1)
    started = demo.run(run_id).started_at.timestamp()
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps({**new_heartbeat(), "at": started + 120.0}))
    demo.records.fail(run_id, "no room")
    collect = rows(view(demo))["collect"]
    assert (collect["runs"], collect["spent_seconds"]) == (2, pytest.approx(180.0))
    assert collect["spent_usd"] == pytest.approx(3.0)


def test_a_run_that_another_resumes_is_not_counted_twice(demo):
    run_id, _ = demo.start("collect")
    successor = demo.compute("collect", seconds=100.0)
    demo.client.set_tag(run_id, schema.SUCCESSOR, successor)
    assert rows(view(demo))["collect"]["spent_seconds"] == 100.0


def test_time_and_money_are_shown_by_hardware_the_most_expensive_first(demo):
    cheap = demo.compute("collect", seconds=600.0)
    dear = demo.compute("train", seconds=60.0)
    for run_id, hardware, usd in ((cheap, "4 cores", 0.1), (dear, "1 x H200", 5.0)):
        demo.client.set_tag(run_id, schema.HARDWARE, hardware)
        demo.records.metrics(run_id, {schema.COST_USD: usd})
    assert view(demo)["hardware"] == [
        {"hardware": "1 x H200", "runs": 1, "seconds": 60.0, "usd": 5.0},
        {"hardware": "4 cores", "runs": 1, "seconds": 600.0, "usd": 0.1},
    ]


def test_the_bottleneck_is_named_with_its_share(demo):
    demo.compute("collect", seconds=60.0)
    demo.compute("train", seconds=900.0)
    demo.compute("evaluate", seconds=240.0)
    found = view(demo)["bottleneck"]
    assert (found["phase"], found["seconds"], found["share"]) == ("train", 900.0, 0.75)
    assert found["sentence"] == (
        "train is the bottleneck: it usually takes 15 min and $15, 75% of the 20 min that all phases take together"
    )


def test_what_was_estimated_stands_beside_what_it_came_to(demo):
    run_id = demo.compute("collect", seconds=60.0)
    demo.records.metrics(run_id, {schema.ESTIMATED_SECONDS: 50.0, schema.ESTIMATED_USD: 0.5})
    (found,) = rows(view(demo))["collect"]["estimates"]
    assert (found["run_id"], found["estimated_seconds"], found["actual_seconds"]) == (run_id, 50.0, 60.0)
    assert (found["estimated_usd"], found["actual_usd"]) == (0.5, pytest.approx(1.0))


def test_the_baseline_has_a_column_for_each_model_the_newest_first_and_follows_it_downstream(demo):
    with_models(demo)
    made = {}
    for preset, seconds in (("tiny", 60.0), ("large", 600.0)):
        made[preset] = [
            demo.compute("collect", f"states of {preset}", seconds=seconds, preset=preset),
            demo.compute("train", f"operators for {preset}", seconds=2 * seconds),
        ]
    evaluated = demo.compute("evaluate", seconds=60.0)
    found = view(demo)["baseline"]
    assert [column["label"] for column in found["columns"]] == ["large", "tiny"]
    cells = {row["phase"]: [cell and cell["run_id"] for cell in row["cells"]] for row in found["rows"]}
    assert cells == {
        "collect": [made["large"][0], made["tiny"][0]],
        "train": [made["large"][1], made["tiny"][1]],
        "evaluate": [evaluated, None],
    }
    assert [total["duration_seconds"] for total in found["totals"]] == [1860.0, 180.0]
    assert found["sentence"] == "large: 31 min and $31; tiny: 3 min and $3.00, without evaluate"
    assert found["rows"][1]["cells"][0]["quality"] == 0.9


def test_without_a_model_parameter_the_declared_size_makes_the_columns(demo):
    demo.compute("collect", seconds=60.0)
    short = demo.compute("train", seconds=60.0, epochs=10)
    long = demo.compute("train", "more", seconds=600.0, epochs=100)
    found = view(demo)["baseline"]
    assert [column["label"] for column in found["columns"]] == ["epochs 100", "epochs 10"]
    assert [cell["run_id"] for cell in found["rows"][1]["cells"]] == [long, short]


def test_a_baseline_holds_good_and_sound_runs_alone(demo):
    demo.compute("collect")
    good = demo.compute("train")
    demo.compute("train", "poor", metrics={"fidelity": 0.1, "held_out": 0.8})
    quarantine_reason = demo.compute("train", "marked")
    demo.records.quarantine(quarantine_reason, "wrong")
    assert [cell["run_id"] for cell in view(demo)["baseline"]["rows"][1]["cells"]] == [good]


def test_where_there_are_too_many_runs_to_read_the_newest_count_and_that_is_said(demo, monkeypatch):
    for number in range(4):
        newest = demo.compute("collect", str(number))
    monkeypatch.setattr("mlflow_plugin.store.run_reader._PAGE", 1)
    monkeypatch.setattr("mlflow_plugin.store.run_reader.NEWEST", 1)
    began = time.monotonic()
    found = accounts_view(demo.history(), within_seconds=-1.0).to_json()
    assert (found["counted_runs"], found["truncated"]) == (1, True)
    assert found["baseline"]["rows"][0]["cells"][0]["run_id"] == newest
    assert time.monotonic() - began < 10
