from dataclasses import replace

import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import NO_EXPERIMENT, History
from mlflow_plugin.store.untrusted import moment

POOR, BORDERLINE, GOOD = ({"fidelity": value, "held_out": 0.8} for value in (0.5, 0.8, 0.9))


def forget_pointers(demo) -> None:
    """Leave the search alone to find the newest run of a phase, as in a store whose pointers were lost."""
    for key in demo.client.get_experiment("0").tags:
        if key.startswith(schema.LATEST):
            demo.client._tracking_client.store.delete_experiment_tag("0", key)


@pytest.fixture(params=["by pointer", "by search"])
def latest(request, demo):
    """Return the lookup of a phase's newest usable run, once by the experiment's pointer and once without it."""

    def look(phase: str) -> str | None:
        if request.param == "by search":
            forget_pointers(demo)
        return demo.latest(phase)

    return look


def test_the_newest_of_several_complete_runs_is_the_latest(demo, latest):
    demo.compute("collect", "one")
    newest = demo.compute("collect", "two")
    assert latest("collect") == newest


def test_nothing_is_the_latest_where_nothing_was_completed(demo, latest):
    demo.start("collect")
    assert latest("collect") is None
    assert latest("train") is None


def test_a_good_run_is_preferred_to_a_newer_one_in_between(demo, latest):
    demo.compute("collect")
    good = demo.compute("train", "good")
    demo.compute("train", "borderline", BORDERLINE)
    assert latest("train") == good


def test_a_good_run_is_found_behind_many_newer_ones_in_between(demo, latest):
    demo.compute("collect")
    good = demo.compute("train", metrics=GOOD)
    for number in range(12):
        demo.compute("train", str(number), metrics=BORDERLINE)
    assert latest("train") == good


def test_a_run_in_between_is_used_where_no_good_one_is(demo, latest):
    demo.compute("collect")
    borderline = demo.compute("train", metrics=BORDERLINE)
    assert latest("train") == borderline


@pytest.mark.parametrize("metrics", [POOR, {}, {"fidelity": float("nan")}, {"fidelity": 0.9, "held_out": 0.1}])
def test_a_run_that_is_poor_of_unknown_quality_or_failed_a_gate_is_not_used(demo, latest, metrics):
    demo.compute("collect")
    demo.compute("train", metrics=metrics)
    assert latest("train") is None


def test_a_run_that_a_person_kept_is_used_although_it_is_in_between(demo, latest):
    demo.compute("collect")
    demo.compute("train", "good", epochs=20)
    kept = demo.compute("train", "borderline", BORDERLINE)
    demo.settle("train", decide="reuse")
    assert latest("train") == kept


def test_a_reused_run_is_the_latest_again(demo, latest):
    first = demo.compute("collect", "one")
    demo.compute("collect", "two", seed=1)
    demo.settle("collect", seed=0)
    assert latest("collect") == first


def test_a_quarantined_run_is_passed_over_until_the_mark_is_lifted(demo, latest):
    first, second = demo.compute("collect", "one"), demo.compute("collect", "two")
    demo.records.quarantine(second, "wrong data")
    assert latest("collect") == first
    demo.records.lift_quarantine(second)
    assert latest("collect") == second


def test_a_deleted_run_is_passed_over(demo, latest):
    first, second = demo.compute("collect", "one"), demo.compute("collect", "two")
    demo.client.delete_run(second)
    assert latest("collect") == first


def test_a_reuse_of_a_deleted_run_does_not_bring_it_back(demo, latest):
    demo.compute("collect")
    source = demo.latest("collect")
    demo.settle("collect")
    demo.client.delete_run(source)
    assert latest("collect") is None


def test_a_value_that_is_logged_after_completion_does_not_change_what_a_run_was_worth(demo, latest):
    demo.compute("collect")
    demo.compute("train", "older")
    newer = demo.compute("train", "newer")
    demo.client.log_batch(newer, metrics=[Metric("fidelity", 0.1, 2**42, 1)])
    assert latest("train") == newer


def test_a_value_of_a_run_of_version_1_that_fell_below_the_bounds_later_still_counts(demo, latest):
    demo.compute("collect")
    older = demo.compute("train", "older")
    newer = demo.compute("train", "newer")
    demo.client.delete_tag(newer, "mlflow.phase.values")  # Version 1 kept none.
    demo.client.log_batch(newer, metrics=[Metric("fidelity", 0.1, 2**42, 1)])
    assert latest("train") == older


def test_a_bound_that_was_raised_counts_for_earlier_runs_too(demo, latest):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", "good: 0.85, poor: 0.70", "good: 0.99, poor: 0.95")
    assert latest("train") is None


def test_phases_of_one_name_in_two_projects_are_kept_apart(demo):
    demo.compute("collect")
    demo.edit("MLproject", "name: demo", "name: other")
    assert demo.latest("collect") is None
    assert demo.action("collect") == ("run", "nothing")


def test_a_pointer_that_is_damaged_costs_a_search_and_nothing_else(demo):
    run_id = demo.compute("collect")
    key = schema.LATEST + schema.phase_key("demo", "collect")
    for damage in ("not json", "[]", '{"run_id": 3}', '{"run_id": "%s"}' % ("0" * 32), '{"run_id": "../x"}'):
        demo.client.set_experiment_tag("0", key, damage)
        assert demo.latest("collect") == run_id


def test_a_pointer_to_another_phases_run_is_not_followed(demo):
    collected = demo.compute("collect")
    trained = demo.compute("train")
    demo.client.set_experiment_tag(
        "0", schema.LATEST + schema.phase_key("demo", "train"), f'{{"run_id": "{collected}"}}'
    )
    assert demo.latest("train") == trained


# --- candidates ---


def test_a_run_is_found_by_its_identity_and_its_configuration_alone_when_the_input_differs(demo):
    demo.compute("collect", "one")
    trained = demo.compute("train")
    identity = demo.decide("train").identity
    assert [run.run_id for run in demo.history().same_identity(identity)] == [trained]
    other = replace(identity, inputs={"collect": "ab" * 32})
    assert demo.history().same_identity(other) == []
    assert [run.run_id for run in demo.history().same_config(other)] == [trained]


def test_a_run_at_the_old_default_is_not_found_under_the_new_one(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", "epochs: {type: int, default: 10}", "epochs: {type: int, default: 20}")
    assert demo.history().same_identity(demo.decide("train").identity) == []


def test_a_good_run_stays_findable_when_its_value_became_the_default_and_a_poor_one_followed(demo):
    demo.compute("collect")
    good = demo.compute("train", epochs=20)
    demo.edit("MLproject", "epochs: {type: int, default: 10}", "epochs: {type: int, default: 20}")
    demo.compute("train", metrics=POOR)
    forget_pointers(demo)
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.run_id) == ("reuse", good)


# --- lineage ---


def test_a_quarantine_reaches_everything_that_was_built_on_the_run(demo):
    collected, trained, evaluated = (demo.compute(phase) for phase in ("collect", "train", "evaluate"))
    demo.records.quarantine(collected, "wrong data")
    history = demo.history()
    assert history.quarantine_reason(history.run(collected)) == f"collect {collected[:8]} is quarantined: wrong data"
    for run_id in (trained, evaluated):
        quarantine_reason = history.quarantine_reason(history.run(run_id))
        assert quarantine_reason == f"collect {collected[:8]} upstream of it is quarantined: wrong data"
    assert [demo.latest(phase) for phase in ("collect", "train", "evaluate")] == [None, None, None]


def test_a_quarantine_does_not_reach_upwards_or_sideways(demo):
    collected, trained = demo.compute("collect"), demo.compute("train")
    sideways = demo.compute("train", "other", epochs=20)
    demo.records.quarantine(trained, "diverged")
    history = demo.history()
    assert [history.quarantine_reason(history.run(run_id)) for run_id in (collected, sideways)] == ["", ""]


def test_a_quarantine_reaches_a_run_of_another_experiment_that_was_built_on_it(demo):
    collected = demo.compute("collect")
    demo.experiment_id = demo.client.create_experiment("second")
    trained = demo.compute("train", collect_run_id=collected)
    evaluated = demo.compute("evaluate")
    demo.records.quarantine(collected, "wrong data")
    history = demo.history()
    for run_id in (trained, evaluated):
        assert "wrong data" in history.quarantine_reason(history.run(run_id))
    assert demo.latest("train") is None


def test_a_quarantined_run_that_was_deleted_still_taints_what_was_made_from_it(demo):
    collected, trained, evaluated = (demo.compute(phase) for phase in ("collect", "train", "evaluate"))
    demo.records.quarantine(collected, "wrong data")
    demo.client.delete_run(collected)
    history = demo.history()
    for run_id in (trained, evaluated):
        assert f"collect {collected[:8]} upstream of it is quarantined: wrong data" in history.quarantine_reason(
            demo.run(run_id)
        )
    assert history.run(collected) is None
    assert [demo.latest(phase) for phase in ("collect", "train", "evaluate")] == [None, None, None]


def test_downstream_is_transitive_and_leaves_out_reuses(demo):
    collected, trained, evaluated = (demo.compute(phase) for phase in ("collect", "train", "evaluate"))
    demo.settle("train")
    assert [run.run_id for run in demo.history().downstream(demo.run(collected))] == [evaluated, trained]
    assert demo.history().downstream(demo.run(evaluated)) == []


def test_what_was_made_from_the_same_bytes_stays_downstream_when_the_phase_is_run_again(demo, ask_always):
    demo.compute("collect")
    trained, evaluated = demo.compute("train"), demo.compute("evaluate")
    again = demo.compute("collect")
    assert [run.run_id for run in demo.history().downstream(demo.run(again))] == [evaluated, trained]
    verdict = demo.decide("collect", seed=1).verdict
    assert (verdict.kind, {loss.run_id for loss in verdict.invalidates}) == ("downstream", {trained, evaluated})


def test_phases_that_make_the_same_bytes_are_not_taken_for_each_other_downstream(demo):
    demo.compute("collect", "same")
    trained = demo.compute("train", "same")
    evaluated = demo.compute("evaluate", "same")
    assert [run.run_id for run in demo.history().downstream(demo.run(trained))] == [evaluated]


# --- pins ---


def test_a_pin_of_a_reuse_leads_to_the_run_that_it_reused(demo):
    collected = demo.compute("collect")
    reuse = demo.settle("collect").run_id
    assert reuse != collected
    assert demo.decide("train", collect_run_id=reuse).inputs["collect"].run_id == collected


def test_what_was_read_of_all_phases_at_once_is_not_searched_for_again(demo, monkeypatch):
    for phase in ("collect", "train", "evaluate"):
        newest = demo.compute(phase)
    history = demo.history()
    assert history.newest()[0].run_id == newest
    asked = []
    monkeypatch.setattr(demo.client, "search_runs", lambda *args, **named: asked.append(args))
    assert [run.phase for run in (*history.recent("train"), *history.computed("collect"))] == ["train", "collect"]
    assert history.all_of("evaluate", 1.0)[1] is True
    assert asked == []


def test_a_pinned_run_feeds_the_phase_in_place_of_the_latest(demo):
    first, second = demo.compute("collect", "one"), demo.compute("collect", "two")
    assert demo.decide("train").inputs["collect"].run_id == second
    assert demo.decide("train", collect_run_id="latest").inputs["collect"].run_id == second
    assert demo.decide("train", collect_run_id=first).inputs["collect"].run_id == first


def test_a_pin_that_cannot_be_used_is_refused_with_the_reason(demo):
    collected, trained = demo.compute("collect"), demo.compute("train")
    unfinished = demo.start("collect")[0]
    plain = demo.client.create_run("0").info.run_id
    demo.records.quarantine(demo.compute("collect", "bad"), "wrong data")
    bad = demo.history().recent("collect", 1)[0].run_id
    deleted = demo.compute("collect", "deleted")
    demo.client.delete_run(deleted)
    for pin, reason in {
        "0" * 32: "there is no such run in this tracking store",
        "../../etc": "there is no such run in this tracking store",
        deleted: "there is no such run in this tracking store",
        trained: "that is a run of train, not of collect",
        plain: "that is no phase run, not of collect",
        unfinished: "that run never completed (running)",
        bad: "is quarantined: wrong data. Choose another, or lift the quarantine",
    }.items():
        with pytest.raises(UsageError) as error:
            demo.decide("train", collect_run_id=pin)
        assert str(error.value).startswith(f"collect_run_id={pin}: ")
        assert reason in str(error.value)
    assert demo.decide("train", collect_run_id=collected).verdict.action == "reuse"


# --- what the store may hold ---


NEXT = str(schema.FORMAT_VERSION + 1)


@pytest.mark.parametrize("written", [NEXT, "99"])
def test_a_run_of_a_newer_version_is_answered_with_what_to_do(demo, written):
    run_id = demo.compute("collect")
    demo.client.set_tag(run_id, schema.FORMAT, written)
    with pytest.raises(PhaseError) as error:
        demo.decide("collect")
    assert f"run {run_id} was written by a newer mlflow-phases (format {written}" in str(error.value)
    assert "Nothing was changed. Upgrade mlflow-phases" in str(error.value)


@pytest.mark.parametrize("written", ["next", "²", "9" * 5000, "", "0"], ids=["text", "power", "long", "empty", "zero"])
def test_a_run_of_a_format_that_no_version_writes_is_named_and_stops_nobody(demo, written):
    run_id = demo.compute("collect")
    demo.client.set_tag(run_id, schema.FORMAT, written)
    verdict = demo.decide("collect").verdict
    assert verdict.action == "run"
    assert f"collect {run_id[:8]} cannot be used: its tag {schema.FORMAT} is no version" in verdict.reasons[0]


@pytest.mark.parametrize("damage", ["[damaged", "[" * 4000], ids=["broken", "deep"])
def test_tags_that_somebody_damaged_are_read_as_empty(demo, damage):
    run_id = demo.compute("collect")
    for tag in (schema.FINGERPRINT, schema.OUTPUTS, schema.HEARTBEAT, schema.QUESTION, schema.COMPLETED_AT):
        demo.client.set_tag(run_id, tag, damage)
    run = demo.run(run_id)
    assert (run.fingerprint, run.outputs, run.heartbeat, run.question, run.complete) == ({}, None, {}, {}, False)
    assert demo.action("collect") == ("run", "nothing")


@pytest.mark.parametrize("text", [None, "", "yesterday", "2026-13-01"])
def test_what_is_no_time_is_none(text):
    assert moment(text) is None


def test_a_time_without_a_zone_counts_as_utc():
    assert moment("2026-03-01T12:00:00") == moment("2026-03-01T13:00:00+01:00")


def test_an_experiment_that_does_not_exist_yet_holds_nothing(demo):
    project = load_project(demo.folder)
    history = History(demo.client, NO_EXPERIMENT, project)
    assert history.latest(project.phase("collect")) is None
    assert history.recent("collect") == []


def test_a_store_that_fails_is_not_taken_for_one_without_runs(demo, monkeypatch):
    def refuse(run_id: str) -> None:
        raise MlflowException("the database is locked")

    monkeypatch.setattr(demo.client, "get_run", refuse)
    with pytest.raises(MlflowException, match="locked"):
        demo.history().run("0" * 32)


def test_many_runs_are_read_in_one_request(demo, monkeypatch):
    run_ids = [demo.client.create_run("0").info.run_id for _ in range(5)]
    asked = []
    search = demo.client.search_runs
    monkeypatch.setattr(demo.client, "search_runs", lambda *a, **k: asked.append(a) or search(*a, **k))
    history = demo.history()
    assert set(history.runs([*run_ids, "", "' OR 1=1"])) == set(run_ids)
    assert set(history.runs(run_ids)) == set(run_ids)
    assert len(asked) == 1
