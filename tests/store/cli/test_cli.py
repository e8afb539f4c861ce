"""The `mlflow-phases` command, as far as it is more than what it calls."""

import json

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mlflow_plugin.cli import main
from mlflow_plugin.project.project import LOG_FILE
from mlflow_plugin.store import schema


@pytest.fixture
def client(store):
    return MlflowClient()


def make_run(client, **tags):
    return client.create_run("0", tags={schema.NAME: "train", **tags}).info.run_id


def quarantined(client, run_id):
    return client.get_run(run_id).data.tags.get(schema.QUARANTINED)


def test_quarantining_a_reuse_marks_the_run_whose_outputs_it_reused(client):
    source = make_run(client)
    reuse = make_run(client, **{schema.REUSED_RUN_ID: source})
    result = CliRunner().invoke(main, ["quarantine", reuse, "--reason", "wrong labels"])
    assert result.exit_code == 0
    assert f"reused the outputs of {source[:8]}" in result.output
    assert (quarantined(client, source), quarantined(client, reuse)) == ("wrong labels", None)
    assert CliRunner().invoke(main, ["quarantine", reuse, "--lift"]).exit_code == 0
    assert quarantined(client, source) is None


@pytest.mark.parametrize("options", [[], ["--reason", "bad", "--lift"]])
def test_a_quarantine_needs_either_a_reason_or_the_wish_to_lift_it(client, options):
    result = CliRunner().invoke(main, ["quarantine", make_run(client), *options])
    assert (result.exit_code, "give --reason WHY" in result.output) == (2, True)


def test_status_ends_a_run_whose_process_is_gone(demo):
    run_id, _ = demo.start("collect")
    demo.die(run_id)
    shown = CliRunner().invoke(main, ["status", "--project", str(demo.folder)])
    assert "stopped at step 40 without ending" in shown.output
    assert demo.run(run_id).status == "KILLED"
    assert "starts it anew" in demo.run(run_id).reason


def test_two_runs_are_compared_as_text_and_as_json(demo):
    runs = [demo.compute("collect", str(seed), seed=seed) for seed in (0, 1)]
    shown = CliRunner().invoke(main, ["compare", *runs])
    assert shown.exit_code == 0
    assert shown.output.splitlines()[1].startswith("seed 0 -> 1; ")
    view = json.loads(CliRunner().invoke(main, ["compare", *runs, "--json"]).output)
    assert [view[side]["run_id"] for side in ("left", "right")] == runs


def test_runs_of_two_phases_are_not_compared(demo):
    runs = demo.compute("collect"), demo.compute("train")
    result = CliRunner().invoke(main, ["compare", *runs])
    assert (result.exit_code, "only runs of the same phase" in result.output) == (2, True)


def test_log_writes_into_the_project_and_only_what_is_new(demo):
    demo.compute("collect")
    words = ["log", "--project", str(demo.folder)]
    file = demo.folder / LOG_FILE
    assert CliRunner().invoke(main, words).output == f"{file}: 1 entry appended\n"
    assert CliRunner().invoke(main, words).output == f"{file}: 0 entries appended\n"
    assert file.read_text(encoding="utf-8").count("\n## ") == 1


def test_watching_and_json_do_not_go_together(demo):
    result = CliRunner().invoke(main, ["status", "--watch", "--json", "--project", str(demo.folder)])
    assert (result.exit_code, "give --watch or --json, not both" in result.output) == (2, True)
