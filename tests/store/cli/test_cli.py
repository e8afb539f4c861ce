"""The `mlflow-phases` command, as far as it is more than what it calls."""

import json

import click
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mlflow_plugin.cli import main
from mlflow_plugin.cli.tables import plan_text
from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.verdict import Plan, Verdict
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
    result = CliRunner().invoke(main, ["status", "--project", str(demo.folder)])
    assert "stopped at step 40 without ending" in result.output
    assert demo.run(run_id).status == "KILLED"
    assert "starts it again" in demo.run(run_id).reason


def test_two_runs_are_compared_as_text_and_as_json(demo):
    runs = [demo.compute("collect", str(seed), seed=seed) for seed in (0, 1)]
    result = CliRunner().invoke(main, ["compare", *runs])
    assert result.exit_code == 0
    assert result.output.splitlines()[1].startswith("seed 0 -> 1; ")
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


def test_the_help_lists_each_command_with_a_whole_sentence():
    result = CliRunner().invoke(main, ["--help"], terminal_width=80)
    commands = result.output.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in commands] == sorted(main.commands)
    assert not [line for line in commands if not line.endswith(".") or line.endswith("...")]


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_option_and_command_explains_itself(command):
    options = [one for one in main.commands[command].params if isinstance(one, click.Option)]
    assert not [option.name for option in options if not option.help]
    assert main.commands[command].help[0].isupper()


def test_a_plan_ends_with_the_time_and_the_cost_of_all_phases():
    estimates = [Estimate(seconds, seconds, seconds, 1, True, seconds / 400) for seconds in (200.0, 100.0)]
    verdicts = [Verdict(f"phase{n}", "run", ("never run",), estimate=estimate) for n, estimate in enumerate(estimates)]
    assert plan_text(Plan("main", tuple(verdicts))).splitlines()[-1] == "in all about 5 min and $0.75 to compute"
