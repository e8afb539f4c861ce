"""A run in MLflow's own UI: a name that tells it apart, a description with verdict, quality and inputs."""

from mlflow_plugin.execution.run_description import with_block
from mlflow_plugin.store.schema import TAG_LENGTH


def note(demo, run_id):
    return demo.tags(run_id)["mlflow.note.content"]


def name(demo, run_id):
    return demo.tags(run_id)["mlflow.runName"]


def test_the_name_of_a_run_says_what_differs_from_the_defaults_and_how_good_it_is(demo):
    collect, trained = demo.compute("collect", seed=7), demo.compute("train", epochs=20, device="cpu")
    assert name(demo, collect) == "collect seed=7"
    assert name(demo, trained) == "train epochs=20: fidelity 0.9"  # The device changes no result.
    again = demo.settle("train", epochs=20).run_id
    assert name(demo, again) == f"train epochs=20: reuse of {trained[:8]}, fidelity 0.9"


def test_a_running_and_a_failed_run_are_named_after_what_they_do(demo):
    run_id, _ = demo.start("collect")
    assert name(demo, run_id) == "collect"
    assert "**run**: re-run because decide=rerun was given" in note(demo, run_id)
    demo.records.fail(run_id, "out of <memory>")
    assert "**failed**: out of &lt;memory>" in note(demo, run_id)
    assert "**run**" not in note(demo, run_id)


def test_the_name_that_a_person_gave_a_run_stays(demo):
    run_id, decision = demo.start("collect")
    demo.client.set_tag(run_id, "mlflow.runName", "my best")
    demo.finish(run_id, decision, {"a": "b"}, {}, 1.0)
    assert name(demo, run_id) == "my best"


def test_the_description_shows_quality_against_its_thresholds_gates_cost_reason_and_links_to_the_inputs(demo):
    collect, trained = demo.compute("collect"), demo.compute("train", seconds=90)
    for part in (
        "**fidelity 0.9: good (good from 0.85, poor below 0.7)**",
        "held_out > 0.5 passes",
        "1 min 30 s, < $0.01 on ",
        "**run**: re-run because decide=rerun was given",
        f"made from [collect {collect[:8]}](#/experiments/0/runs/{collect})",
    ):
        assert part in note(demo, trained)
    again = demo.settle("train").run_id
    assert f"**reuse** of [train {trained[:8]}](#/experiments/0/runs/{trained}), which saved 1 min 30 s" in note(
        demo, again
    )


def test_what_a_script_wrote_of_its_run_stays_in_the_description(demo):
    run_id, decision = demo.start("collect")
    demo.records.describe(run_id, "# Mine\n\n| a | b |")
    demo.finish(run_id, decision, {"a": "b"}, {}, 1.0)
    assert note(demo, run_id).endswith("<!-- /mlflow-phases -->\n\n# Mine\n\n| a | b |")
    assert note(demo, run_id).count("<!-- mlflow-phases -->") == 1


def test_a_description_fits_into_a_tag_whatever_goes_into_it():
    assert len(with_block("x" * 9000, ["y" * 9000])) <= TAG_LENGTH
    once = with_block("theirs", ["first"])
    assert with_block(once, ["second"]) == once.replace("first", "second")


def test_the_description_of_a_pipelines_run_leads_to_the_runs_of_its_phases(demo):
    collect, trained = demo.compute("collect"), demo.compute("train", epochs=20)
    parent = demo.records.create_pipeline(demo.history().project, "main", {}, "0", "phases")
    demo.records.end_pipeline(parent, [collect, trained])
    row = f"| [train epochs=20: fidelity 0.9](#/experiments/0/runs/{trained}) | run | 1 min | < $0.01 |"
    assert row in note(demo, parent).splitlines()
    assert demo.client.get_run(parent).data.metrics["phase.duration_seconds"] == 120
