"""The evidence that is collected for a verdict from runs in a store."""

import pathlib

import pytest


@pytest.fixture(params=["by pointer", "by search"])
def newest(request, demo):
    """A computed `collect` with seed 0, once as the run that the experiment's pointer names and once behind another."""
    run_id = demo.compute("collect", "one")
    if request.param == "by search":
        demo.compute("collect", "two", seed=1)
    return run_id


def test_a_run_of_a_parameter_that_was_removed_since_is_not_reused(demo, newest):
    demo.edit("MLproject", "    parameters:\n      seed: {type: int, default: 0}\n", "")
    demo.edit("MLproject", "collect.py --seed {seed}", "collect.py")
    verdict = demo.decide("collect").verdict
    assert verdict.action == "run"
    assert "seed, which is no longer a parameter" in verdict.reasons[0]


def test_a_run_is_reused_when_one_of_its_parameters_was_added_to_those_ignored(demo, newest):
    demo.edit("MLproject", "phase: {}", "phase: {ignore: [seed]}")
    assert demo.action("collect", seed=5) == ("reuse", "same")


def test_a_run_of_an_input_that_is_no_longer_needed_is_not_reused(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.compute("evaluate")
    demo.edit("MLproject", "phase: {needs: [train]}", "phase: {}")
    demo.edit("MLproject", "pipeline: [evaluate]", "pipeline: [train, evaluate]")
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "run"
    assert "train, which is no longer needed" in verdict.reasons[0]


def test_a_run_that_ended_before_its_outputs_were_recorded_is_waited_for_while_its_process_lives(demo):
    run_id, _ = demo.start("collect")
    demo.client.set_terminated(run_id, "FINISHED")
    verdict = demo.decide("collect").verdict
    assert (verdict.action, verdict.run_id) == ("wait", run_id)
    demo.die(run_id)
    assert demo.action("collect") == ("run", "nothing")


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_failed_is_not_waited_for_although_its_process_lives(demo, status):
    run_id, _ = demo.start("collect")
    demo.client.set_terminated(run_id, status)
    assert demo.action("collect") == ("run", "nothing")


def test_many_reuses_hide_neither_the_estimate_nor_what_changed(demo):
    computed = demo.compute("collect", seconds=90.0)
    for _ in range(25):
        demo.settle("collect")
    verdict = demo.decide("collect", seed=1).verdict
    assert verdict.estimate.seconds == 90.0
    assert verdict.reasons[0] == f"collect {computed[:8]} differs in seed (0 -> 1)"


def test_many_starts_that_failed_do_not_hide_the_run_to_go_on_from(demo):
    interrupted, _ = demo.start("collect")
    demo.records.checkpoint(interrupted, "step-000100")
    demo.die(interrupted)
    for _ in range(21):
        failed, _ = demo.start("collect")
        demo.client.set_terminated(failed, "FAILED")
    verdict = demo.decide("collect").verdict
    assert (verdict.action, verdict.run_id) == ("resume", interrupted)


@pytest.mark.parametrize("complete", [True, False])
def test_who_was_killed_before_the_first_checkpoint_was_recorded_has_one_if_it_is_complete(demo, complete):
    interrupted, _ = demo.start("collect")
    demo.records.first_checkpoint(interrupted, "step-000100")
    folder = pathlib.Path(demo.run(interrupted).artifact_uri) / "checkpoints" / "step-000100"
    folder.mkdir(parents=True)
    (folder / ("manifest.json" if complete else "state.json")).write_text("{}")
    demo.die(interrupted)

    verdict = demo.decide("collect").verdict

    assert verdict.action == ("resume" if complete else "run")
    assert not complete or "step-000100" in verdict.reasons[0]
