"""The files that earlier phases left in the project: what is not known of them makes later phases ask."""

import pytest

from mlflow_plugin.checkout.lock import writing
from mlflow_plugin.decision.handed import doubts_of_steps, handover, step_doubt


def leave_nothing(demo, **given) -> str:
    """Compute collect so that it logs nothing."""
    run_id, decision = demo.start("collect", **given)
    demo.finish(run_id, decision, {}, {}, 1.0)
    return run_id


def test_a_step_that_is_reused_without_outputs_is_in_doubt_when_another_run_of_it_was_computed_since(demo):
    first = leave_nothing(demo)
    phase = demo.request("collect").phase
    assert step_doubt(demo.history(), phase, demo.run(first)) == ""
    second = leave_nothing(demo, seed=1)
    said = step_doubt(demo.history(), phase, demo.run(first))
    assert said.startswith(f"the step collect {first[:8]} is reused, logged nothing and declares no `outputs:`, and ")
    assert f"{second[:8]} was computed since" in said
    assert step_doubt(demo.history(), phase, demo.run(second)) == ""


def test_a_step_that_logged_its_result_is_never_in_doubt(demo):
    first = demo.compute("collect")
    demo.compute("collect", seed=1)
    assert step_doubt(demo.history(), demo.request("collect").phase, demo.run(first)) == ""


def test_a_step_after_one_in_doubt_asks_before_it_computes_and_is_reused_without_a_question(demo):
    demo.compute("collect")
    demo.compute("train")
    token = doubts_of_steps.set(("the step collect is reused",))
    try:
        asked = demo.decide("train", epochs=20).verdict
        assert (asked.action, asked.kind) == ("ask", "handover")
        assert asked.reasons[0] == "the step collect is reused"
        assert demo.decide("train").verdict.action == "reuse"
    finally:
        doubts_of_steps.reset(token)


@pytest.mark.parametrize("computing", [False, True])
def test_files_that_another_run_is_writing_are_not_taken_for_edits_by_hand(demo, computing):
    demo.edit("MLproject", "phase: {}", "phase: {outputs: [data]}")
    (demo.folder / "data").mkdir()
    (demo.folder / "data/rows.csv").write_text("1")
    run = demo.run(leave_nothing(demo))
    (demo.folder / "data/rows.csv").write_text("2")
    project = demo.request("train").project

    def by_hand() -> tuple[str, ...]:
        return handover(demo.history(), project, {"collect": run}).by_hand

    if computing:
        with writing(demo.folder, "collect"):
            assert by_hand() == ()
    else:
        assert "data/rows.csv was made or edited by hand" in by_hand()[0]
