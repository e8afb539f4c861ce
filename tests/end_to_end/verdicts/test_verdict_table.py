"""Each row of the verdict table, as a user meets it, through the plugin's backend.

tests/nightly repeats them through MLflow's local backend, and with scripts that do not import the plugin.
"""

import math
from pathlib import Path

import pytest
from mlflow.entities import Run
from project_folder import LOCAL, PHASES, ProjectFolder
from three_phases import WITH_PLUGIN, backdate, collected, finished, trained

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ask_always")]


@pytest.fixture
def way() -> tuple[str, dict[str, str]]:
    """Return a route and the files of the project to go it with."""
    return PHASES, WITH_PLUGIN


def snapshot(run: Run) -> tuple[object, ...]:
    """All that a later run might spoil of an earlier one."""
    return (run.info.status, run.info.end_time, run.data.tags, run.data.metrics, run.data.params)


def invalidated(project: ProjectFolder) -> dict[str, str]:
    """Entry point -> the run that took its place, of all superseded runs."""
    tags = [run.data.tags for run in project.runs()]
    return {one["mlflow.project.entryPoint"]: by for one in tags if (by := one.get("phase.invalidated_by"))}


# --- run ---


def test_a_phase_that_was_never_run_is_run_and_recorded(
    project: ProjectFolder, way: tuple[str, dict[str, str]]
) -> None:
    route, files = way
    collected(project, files)

    result = project.run("train", route, device="cpu")

    assert (result.exit_code, project.executed()) == (0, ["train"]), result.text
    run, upstream = project.newest("train"), project.newest("collect").info.run_id
    tags, metrics = run.data.tags, run.data.metrics
    assert run.info.status == "FINISHED"
    assert (tags["phase.name"], tags["phase.project"], tags["phase.verdict"]) == ("train", "three", "run")
    assert "has not been run yet" in tags["phase.reason"]
    assert tags["phase.input.collect"] == upstream
    assert len(tags["phase.output_digest"]) == 64
    assert tags["phase.completed_at"].endswith("+00:00")
    assert tags["phase.hardware"]
    assert metrics["fidelity"] == 0.989
    assert 0 < metrics["phase.duration_seconds"] < 3600
    assert metrics["phase.cost_usd"] > 0
    assert (Path(run.info.artifact_uri) / "outputs" / "manifest.json").is_file()
    assert tags["environment"] == upstream, "PHASE_INPUT_COLLECT as the script saw it"
    # What {collect_run_id} held: MLflow's own backend fills in what was given, the plugin's knows the run.
    assert tags["argument"] == ("latest" if route == LOCAL else upstream)


def test_a_poor_result_is_computed_anew_without_a_question(
    project: ProjectFolder, way: tuple[str, dict[str, str]]
) -> None:
    route, files = way
    poor = trained(project, "0.6", files=files)

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (0, ["train"]), result.text
    reason = project.newest("train").data.tags["phase.reason"]
    assert poor.info.run_id[:8] in reason
    assert "is poor: the bound is 0.7" in reason
    assert project.newest("train").data.metrics["fidelity"] == 0.989


# --- reuse ---


def test_a_good_result_is_reused_as_a_new_run_that_leaves_the_old_one_untouched(
    project: ProjectFolder, way: tuple[str, dict[str, str]]
) -> None:
    route, files = way
    before = finished(project, files).newest("train")

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (0, []), result.text
    run = project.newest("train")
    assert run.info.run_id != before.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["phase.verdict"] == "reuse"
    assert run.data.tags["phase.reused_run_id"] == before.info.run_id
    assert run.data.tags["phase.output_digest"] == before.data.tags["phase.output_digest"]
    assert run.data.tags["phase.input.collect"] == before.data.tags["phase.input.collect"]
    assert "0.989 >= 0.85" in run.data.tags["phase.reason"]
    assert run.data.metrics["fidelity"] == 0.989
    assert run.data.metrics["phase.saved_seconds"] == before.data.metrics["phase.duration_seconds"]
    assert run.data.metrics["phase.saved_usd"] == before.data.metrics["phase.cost_usd"]
    assert "phase.cost_usd" not in run.data.metrics
    assert snapshot(project.client.get_run(before.info.run_id)) == snapshot(before)


def test_what_does_not_change_the_result_does_not_cost_a_run(project: ProjectFolder, route: str) -> None:
    finished(project).write({"README.md": "Rewritten.", "notes/ideas.txt": "none"})
    project.edit("MLproject", "  report:\n", "      # a remark\n  report:\n")

    result = project.run("train", route, device="cuda:0", rate="1e-3")

    assert (result.exit_code, project.executed()) == (0, []), result.text
    assert project.newest("train").data.tags["phase.verdict"] == "reuse"


def test_a_parameter_added_with_a_default_is_asked_about_once_and_orphans_no_earlier_run(
    project: ProjectFolder, route: str
) -> None:
    finished(project).edit(
        "MLproject", "      rate: {type", "      layers: {type: int, default: 12}\n      rate: {type"
    )

    asked = project.run("train", route)
    assert (asked.exit_code, project.executed()) == (3, []), asked.text
    assert "has no parameter `layers`; it is assumed that it used the default 12" in asked.text

    for decide in ({"decide": "reuse"}, {}):
        result = project.run("train", route, **decide)
        assert (result.exit_code, project.executed()) == (0, []), result.text


def test_a_reused_pipeline_nests_a_run_for_each_phase_below_its_own(project: ProjectFolder, route: str) -> None:
    finished(project)

    assert project.run("main", route).exit_code == 0

    parent = project.newest("main")
    assert parent.info.status == "FINISHED"
    for name in ("collect", "train", "report"):
        run = project.newest(name)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["phase.verdict"] == "reuse"
    assert parent.data.metrics["phase.saved_seconds"] > 0


# --- ask: the quality leaves it open ---


def test_a_borderline_result_is_asked_about(project: ProjectFolder, route: str) -> None:
    borderline = trained(project, "0.8")

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "fidelity 0.8 lies between poor (0.7) and good (0.85)" in result.text
    assert f"A) Keep train {borderline.info.run_id[:8]}" in result.text
    asked = project.newest("train")
    assert asked.info.status == "FAILED"
    assert asked.data.tags["phase.verdict"] == "ask"
    assert snapshot(project.client.get_run(borderline.info.run_id)) == snapshot(borderline)


def test_a_borderline_result_that_somebody_accepts_is_kept_and_feeds_what_follows(
    project: ProjectFolder, route: str
) -> None:
    borderline = trained(project, "0.8")

    kept = project.run("train", route, decide="reuse")

    assert (kept.exit_code, project.executed()) == (0, []), kept.text
    tags = project.newest("train").data.tags
    assert (tags["phase.verdict"], tags["phase.answer"]) == ("reuse", "A")
    assert tags["phase.answered_by"].endswith("(decide=reuse)")
    assert tags["phase.reused_run_id"] == borderline.info.run_id

    assert project.run("report", route).exit_code == 0
    assert project.executed() == ["report"]
    assert project.newest("report").data.tags["phase.input.train"] == borderline.info.run_id


def test_a_borderline_result_that_somebody_rejects_is_superseded(project: ProjectFolder, route: str) -> None:
    trained(project, "0.8")

    result = project.run("main", route, decide="rerun")

    assert (result.exit_code, project.executed()) == (0, ["train", "report"]), result.text
    again = project.newest("train")
    assert (again.data.tags["phase.answer"], again.data.tags["phase.verdict"]) == ("B", "run")
    assert again.data.tags["phase.answered_by"].endswith("(decide=rerun)")
    assert invalidated(project) == {"train": again.info.run_id}


def test_a_failed_gate_is_asked_about(project: ProjectFolder, route: str) -> None:
    trained(project, "0.989", identity_fidelity="0.996")

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "gate 'fidelity > identity_fidelity' failed: 0.989 against 0.996" in result.text


def test_a_metric_that_was_never_logged_is_asked_about(project: ProjectFolder, way: tuple[str, dict[str, str]]) -> None:
    route, files = way
    run = trained(project, "never", files=files)

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "metric 'fidelity' was never logged" in result.text
    assert "fidelity" not in run.data.metrics

    project.client.log_metric(run.info.run_id, "fidelity", 0.9)
    assert project.run("train", route).exit_code == 0
    assert project.newest("train").data.tags["phase.reused_run_id"] == run.info.run_id


def test_a_metric_that_is_no_number_is_asked_about(project: ProjectFolder, route: str) -> None:
    run = trained(project, "nan")

    result = project.run("train", route)

    assert math.isnan(run.data.metrics["fidelity"])
    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "metric 'fidelity' is nan" in result.text


# --- ask: the inputs changed or are old ---


def test_a_result_made_from_other_inputs_is_asked_about(
    project: ProjectFolder, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = finished(project).newest("train")
    old = project.newest("collect")
    monkeypatch.setenv("MLFLOW_TESTS_WORLD", "changed")
    assert project.run("collect", route, decide="rerun").exit_code == 0
    new = project.newest("collect")
    project.executed()

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    for run in (trained, old, new):
        moment = run.data.tags["phase.completed_at"][:19].replace("T", " ")
        assert f"{run.info.run_id[:8]} of {moment} UTC" in result.text
    assert "its output differs" in result.text
    # The tag of the run that superseded it is history, not a verdict: keeping it is still offered.
    assert project.run("train", route, decide="reuse").exit_code == 0
    assert project.newest("train").data.tags["phase.reused_run_id"] == trained.info.run_id
    assert project.executed() == []


def test_a_pinned_upstream_run_decides_what_matches(
    project: ProjectFolder, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = finished(project).newest("collect").info.run_id
    monkeypatch.setenv("MLFLOW_TESTS_WORLD", "changed")
    assert project.run("collect", route, decide="rerun").exit_code == 0
    project.executed()

    result = project.run("train", route, collect_run_id=old)

    assert (result.exit_code, project.executed()) == (0, []), result.text
    assert project.newest("train").data.tags["phase.input.collect"] == old


def test_an_upstream_run_that_gives_the_same_bytes_invalidates_nothing(project: ProjectFolder, route: str) -> None:
    finished(project)
    assert project.run("collect", route, decide="rerun").exit_code == 0
    assert project.executed() == ["collect"]

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (0, []), result.text
    assert "gives the same bytes as" in project.newest("train").data.tags["phase.reason"]
    assert invalidated(project) == {}


def test_inputs_older_than_max_age_are_asked_about(project: ProjectFolder, route: str) -> None:
    finished(project).edit("MLproject", "      ignore: [device]", "      ignore: [device]\n      max_age: 7d")
    assert project.run("train", route).exit_code == 0, "inputs of today are young enough"
    backdate(project, project.source("collect"), days=8)

    result = project.run("train", route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "is 8 d 00 h old; max_age is 7 d 00 h" in result.text
    assert "Stop, and update collect first" in result.text
    assert project.run("train", route, decide="reuse").exit_code == 0
    assert project.executed() == []


# --- ask: good work depends on it ---


def test_running_a_phase_that_good_runs_depend_on_is_asked_about_with_what_that_would_cost(
    project: ProjectFolder, route: str
) -> None:
    finished(project)
    kept = {name: project.newest(name) for name in ("train", "report")}

    result = project.run("collect", route, prompts=51)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "would make 2 good downstream runs stale" in result.text
    assert f"supersedes  train {kept['train'].info.run_id[:8]}, fidelity 0.989, finished 20" in result.text
    assert f"supersedes  report {kept['report'].info.run_id[:8]}, finished 20" in result.text
    assert "took less than 1 s, cost < $0.01" in result.text
    stale = "train and report become stale (recomputing them would take less than 1 s and < $0.01)"
    assert f"B) Run collect again; {stale} - computes collect: less than 1 s and < $0.01" in result.text
    assert invalidated(project) == {}

    again = project.run("collect", route, prompts=51, decide="rerun")

    assert (again.exit_code, project.executed()) == (0, ["collect"]), again.text
    by = project.newest("collect").info.run_id
    assert invalidated(project) == {"train": by, "report": by}
    for name, run in kept.items():
        assert project.output(run), f"{name} is marked, not removed"


def test_work_that_depends_on_a_phase_by_equal_bytes_counts_as_well(project: ProjectFolder, route: str) -> None:
    trained = finished(project).newest("train")
    assert project.run("collect", route, decide="rerun").exit_code == 0
    assert project.executed() == ["collect"]

    result = project.run("collect", route, prompts=51)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert f"supersedes  train {trained.info.run_id[:8]}, fidelity 0.989" in result.text

    assert project.run("collect", route, prompts=51, decide="rerun").exit_code == 0
    by = project.newest("collect").info.run_id
    assert invalidated(project) == {"train": by, "report": by}


# --- never reuse ---


def test_a_quarantined_run_is_not_reused_until_the_quarantine_is_lifted(project: ProjectFolder, route: str) -> None:
    spoilt = finished(project).newest("train").info.run_id
    done = project.cli("quarantine", spoilt, "--reason", "wrong labels")
    assert done.exit_code == 0, done.text

    assert project.run("train", route).exit_code == 0
    assert project.executed() == ["train"]
    assert "is quarantined: wrong labels" in project.newest("train").data.tags["phase.reason"]
    assert project.client.get_run(spoilt).data.tags["phase.quarantined"] == "wrong labels"


def test_nothing_built_on_a_quarantined_run_is_reused(project: ProjectFolder, route: str) -> None:
    spoilt = finished(project).newest("collect").info.run_id
    project.client.set_tag(spoilt, "phase.quarantined", "wrong labels")

    alone = project.run("report", route)
    assert (alone.exit_code, project.executed()) == (2, []), alone.text
    assert "report needs train" in alone.text

    whole = project.run("main", route)
    assert (whole.exit_code, project.executed()) == (0, ["collect", "train", "report"]), whole.text
    reason = project.newest("report").data.tags["phase.reason"]
    assert f"collect {spoilt[:8]} upstream of it is quarantined: wrong labels" in reason


def test_a_lifted_quarantine_makes_everything_reusable_again(project: ProjectFolder, route: str) -> None:
    before = finished(project).newest("report").info.run_id
    upstream = project.newest("collect").info.run_id
    project.client.set_tag(upstream, "phase.quarantined", "wrong labels")
    assert project.run("report", route).exit_code == 2
    project.client.delete_tag(upstream, "phase.quarantined")

    assert project.run("report", route).exit_code == 0
    assert project.executed() == []
    assert project.newest("report").data.tags["phase.reused_run_id"] == before
