"""The `mlflow-phases` command, as far as it is more than what it calls."""

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mlflow_plugin import names
from mlflow_plugin.cli import main


@pytest.fixture
def client(store):
    return MlflowClient()


def make_run(client, **tags):
    return client.create_run("0", tags={names.NAME: "train", **tags}).info.run_id


def quarantined(client, run_id):
    return client.get_run(run_id).data.tags.get(names.QUARANTINED)


def test_quarantining_a_reuse_marks_the_run_whose_outputs_it_reused(client):
    source = make_run(client)
    reuse = make_run(client, **{names.REUSED_RUN_ID: source})
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
