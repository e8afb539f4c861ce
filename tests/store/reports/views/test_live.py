"""The view that a page polls: progress, questions, and a stamp that changes with the pipeline."""

import json

from mlflow.entities import ViewType

from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.reports.views import live
from mlflow_plugin.reports.views.live import live_view
from mlflow_plugin.store import schema


def view(demo) -> dict:
    return json.loads(json.dumps(live_view(demo.history()).to_json(), allow_nan=False))


def test_a_run_that_computes_shows_its_progress_and_load(demo):
    run_id, _ = demo.start("collect")
    told = {"total": 10, "seconds_per_step": 0.5, "since_step": 0.1, "process_percent": 99.0, "memory_percent": 40.0}
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps({**new_heartbeat(4), **told, "gpu_percent": float("nan")}))
    (found,) = view(demo)["running"]
    assert (found["run_id"], found["state"], found["step"], found["total"]) == (run_id, "running", 4, 10)
    assert (found["eta_seconds"], found["steps_per_second"]) == (3.0, 2.0)
    assert (found["process_percent"], found["memory_percent"], found["gpu_percent"]) == (99.0, 40.0, None)
    assert "is running at step 4 of 10" in found["sentence"]


def test_a_run_that_waits_for_a_duplicate_run_says_so_and_a_dead_one_is_left_out(demo):
    run_id, decision = demo.start("collect")
    waiting = demo.records.create(demo.request("collect"))
    demo.records.wait(waiting, decision)
    found = {one["run_id"]: one["state"] for one in view(demo)["running"]}
    assert found == {run_id: "running", waiting: "waiting"}
    demo.die(run_id)
    assert [one["run_id"] for one in view(demo)["running"]] == [waiting]


def test_the_stamp_changes_with_all_that_the_pipeline_shows_and_with_nothing_else(demo, monkeypatch):
    monkeypatch.setattr(live, "_LOOK_EVERY_SECONDS", 0.0)
    stamps = [view(demo)["stamp"]]

    def changed() -> bool:
        stamps.append(view(demo)["stamp"])
        return stamps[-1] != stamps[-2]

    assert not changed()
    collected = demo.compute("collect")
    assert changed()
    run_id, decision = demo.start("train")
    assert changed()
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps(new_heartbeat(5)))
    assert not changed()
    demo.die(run_id)
    assert changed()
    demo.finish(run_id, decision, {"result.txt": "x"}, {"fidelity": 0.9, "held_out": 0.8}, 1.0)
    assert changed()
    demo.records.quarantine(run_id, "wrong")
    assert changed()
    demo.records.lift_quarantine(run_id)
    assert changed()
    demo.records.metrics(run_id, {"held_out": 0.1})  # It comes too late to count.
    assert not changed()
    failing, _ = demo.start("evaluate")
    demo.records.fail(failing, "no room")
    assert changed()
    demo.client.delete_run(collected)
    assert changed()
    assert not changed()


def test_a_poll_asks_the_store_for_little_and_only_now_and_then_for_the_newest_run(demo, monkeypatch):
    demo.compute("collect")
    demo.start("train")
    asked = []
    search = demo.client.search_runs

    def counted(experiments, filter_string="", view=ViewType.ACTIVE_ONLY, at_most=0, *args, **named):
        asked.append(filter_string)
        return search(experiments, filter_string, view, at_most, *args, **named)

    monkeypatch.setattr(demo.client, "search_runs", counted)
    view(demo)
    first = list(asked)
    asked.clear()
    view(demo)
    # A search without a filter sorts all runs of the experiment.
    assert ("" in first, "" in asked) == (True, False)
    assert len(asked) <= 5
