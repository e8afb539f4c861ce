"""Faults of a request, a store or a script give one message that says what to do, the right status and exit
code, and nothing lost.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from four_phases import finished
from processes import run_words
from project_folder import LOCAL, PHASES, ProjectFolder, Result

pytestmark = pytest.mark.end_to_end

MLPROJECT = """name: small
entry_points:
  train:
    parameters:
      text: {type: string, default: a}
      count: {type: int, default: 1}
      decide: {type: string, default: ask}
    command: "python train.py {text} {count}"
    phase: {quality: {metric: score, good: 0.9, poor: 0.5}}
"""
SCRIPT = """import os, signal, sys
import mlflow
from mlflow_plugin import start_phase
with start_phase() as phase:
    phase.log(loss=0.25)
    BODY
"""

WITHOUT_MLFLOWS_PATIENCE = 120.0
"""Seconds. MLflow itself asks a server that is down for four minutes."""

MakeProject = Callable[[Mapping[str, str]], ProjectFolder]


def one_phase(make_project: MakeProject, body: str, mlproject: str = MLPROJECT) -> ProjectFolder:
    return make_project({"MLproject": mlproject, "train.py": SCRIPT.replace("BODY", body.replace("\n", "\n    "))})


def check_refused(project: ProjectFolder, route: str, result: Result, exit_code: int, *said: str) -> None:
    """The message says all of `said` without a traceback, and what was refused left no run that looks alive."""
    assert result.exit_code == exit_code, result.text
    assert "Traceback" not in result.text
    for text in said:
        assert text in result.text
    assert result.text.count("mlflow-phases: ") == 1, "one message, once"
    assert not [run for run in project.runs() if run.info.status in ("RUNNING", "SCHEDULED")]


# --- the project and the request ---


@pytest.mark.parametrize(
    ("mlproject", "said"),
    [
        (None, "there is no MLproject file"),
        ("entry_points: [a", "cannot be read as YAML"),
        ("just text", "entry_points:"),
        (MLPROJECT.replace("good: 0.9", "good: high"), "phase.quality.good"),
        (MLPROJECT.replace("good: 0.9", "good: 0.1"), "`poor` 0.5 is above `good` 0.1"),
        (MLPROJECT.replace("phase: {", "phase: {needs: [prepare], "), "'prepare' is not a phase of this file"),
        (MLPROJECT.replace("phase: {", "phase: {needs: [train], "), "in a cycle"),
        (MLPROJECT.replace("phase: {", "phase: {neds: [], "), "phase.neds"),
    ],
)
def test_a_project_that_cannot_be_used_is_refused_before_anything_is_recorded(
    project: ProjectFolder, mlproject: str | None, said: str
) -> None:
    if mlproject is not None:
        project.write({"MLproject": mlproject})
    check_refused(project, PHASES, project.run("train"), 2, said, str(project.folder))
    assert project.runs() == []


def test_the_command_line_refuses_a_malformed_project_in_the_same_words(project: ProjectFolder) -> None:
    project.write({"MLproject": "entry_points: [a"})
    result = project.command("mlflow-phases", "plan", "train")
    check_refused(project, PHASES, result, 2, "cannot be read as YAML", str(project.folder))


def test_a_bad_key_is_found_by_the_phases_own_process_too(make_project: MakeProject) -> None:
    project = one_phase(make_project, "pass", MLPROJECT.replace("phase: {", "phase: {neds: [], "))
    check_refused(project, LOCAL, project.run("train", LOCAL), 2, "phase.neds", "unknown key")
    assert project.newest("train").info.status == "FAILED"


def test_an_unknown_phase_is_answered_with_those_that_there_are(project: ProjectFolder) -> None:
    finished(project)
    before = len(project.runs())
    check_refused(project, PHASES, project.run("phase9"), 2, "no phase 'phase9'", "phase1, phase2, phase3, phase4")
    assert len(project.runs()) == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nope": "1"}, "phase2 has no parameter 'nope'. Its parameters: decide, phase1_run_id"),
        ({"scale": "three"}, "parameter 'scale' must be an integer, got 'three'"),
        ({"decide": "maybe"}, "decide='maybe' is not one of ask, reuse, rerun, beside, fail, wait"),
        ({"phase1_run_id": "0" * 32}, "there is no such run"),
        ({"phase1_run_id": "OTHER"}, "that is a run of phase4, not of phase1"),
        ({"phase1_run_id": "UNFINISHED"}, "that run never completed (failed)"),
    ],
)
def test_a_wrong_request_is_refused_on_both_routes(
    project: ProjectFolder, route: str, given: dict[str, str], said: str
) -> None:
    finished(project)
    if given.get("phase1_run_id") == "OTHER":
        given = {"phase1_run_id": project.newest("phase4").info.run_id}
    elif given.get("phase1_run_id") == "UNFINISHED":
        given = {"phase1_run_id": unfinished_run(project, "phase1")}
    before = len(project.runs())

    check_refused(project, route, project.run("phase2", route, **given), 2, said)

    if route == LOCAL:  # MLflow made the run before the phase's process could say anything
        run = project.newest("phase2")
        assert (run.info.status, said in run.data.tags["phase.reason"]) == ("FAILED", True)
    assert len(project.runs()) == before + (route == LOCAL)
    assert project.executed() == []


def unfinished_run(project: ProjectFolder, phase: str) -> str:
    """A copy of a phase's run that failed before it was complete."""
    run = project.newest(phase)
    tags = {key: value for key, value in run.data.tags.items() if key not in ("phase.completed_at", "mlflow.runName")}
    copy = project.client.create_run("0", tags=tags)
    project.client.set_terminated(copy.info.run_id, "FAILED")
    return str(copy.info.run_id)


# --- the store ---


@pytest.mark.parametrize("words", [("plan", "train"), ("status",), ("doctor",)])
def test_a_tracking_server_that_is_down_is_told_by_a_command_within_seconds(
    make_project: MakeProject, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = one_phase(make_project, "pass")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    result = project.cli(*words)
    assert result.exit_code == 1, result.text
    assert "Traceback" not in result.text
    assert "http://127.0.0.1:9" in result.text
    if words != ("doctor",):
        assert "See that it is up and that MLFLOW_TRACKING_URI names it" in result.text


def test_a_tracking_server_that_is_down_ends_a_run_within_a_minute(make_project: MakeProject) -> None:
    project = one_phase(make_project, "pass")
    result = project.command(
        *run_words("train", PHASES), timeout=WITHOUT_MLFLOWS_PATIENCE, MLFLOW_TRACKING_URI="http://127.0.0.1:9"
    )
    check_refused(project, PHASES, result, 1, "does not answer", "MLFLOW_TRACKING_URI", "http://127.0.0.1:9")


def test_runs_of_a_newer_version_stop_a_phase_and_are_left_alone(project: ProjectFolder, route: str) -> None:
    newer = finished(project).newest("phase1").info.run_id
    project.client.set_tag(newer, "mlflow.phase.format", "99")
    before = project.client.get_run(newer).to_dictionary()

    result = project.run("phase2", route)

    check_refused(project, route, result, 1, newer, "newer mlflow-phases", "Upgrade mlflow-phases")
    assert project.client.get_run(newer).to_dictionary() == before
    assert project.executed() == []


@pytest.mark.parametrize("words", [("plan", "phase2"), ("status",)])
def test_the_command_line_says_so_too_when_runs_are_of_a_newer_version(
    project: ProjectFolder, words: tuple[str, ...]
) -> None:
    newer = finished(project).newest("phase1").info.run_id
    project.client.set_tag(newer, "mlflow.phase.format", "99")
    check_refused(project, PHASES, project.cli(*words), 1, newer, "Upgrade mlflow-phases")


def test_an_upstream_run_whose_files_were_deleted_is_named_with_what_to_do(project: ProjectFolder, route: str) -> None:
    upstream = finished(project).newest("phase1")
    shutil.rmtree(Path(upstream.info.artifact_uri) / "outputs")

    result = project.run("phase2", route, scale=3, decide="rerun")

    assert result.exit_code == 1, result.text
    assert "Traceback" not in result.text
    assert upstream.info.run_id[:8] in result.text
    assert "mlflow run . -e phase1" in result.text
    assert project.newest("phase2").info.status == "FAILED"


# --- the script ---


@pytest.mark.parametrize(
    ("body", "said"),
    [("pass", "metric 'score' was never logged"), ("phase.log(score=float('nan'))", "metric 'score' is nan")],
)
def test_a_quality_that_is_not_known_is_pointed_out_and_asked_about(
    make_project: MakeProject, route: str, body: str, said: str
) -> None:
    project = one_phase(make_project, body)
    first = project.run("train", route)
    assert first.exit_code == 0, first.text
    assert said in first.text
    assert project.newest("train").info.status == "FINISHED"

    check_refused(project, route, project.run("train", route), 3, "quality is not known", said, "decide=rerun")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('the data is upside down')", "the data is upside down"),
        ("sys.exit(5)", "5"),
        ("os._exit(5)", "exit code 5"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    ],
)
def test_a_script_that_fails_half_way_leaves_a_failed_run_with_what_it_logged(
    make_project: MakeProject, route: str, body: str, said: str
) -> None:
    project = one_phase(make_project, body)

    assert project.run("train", route).exit_code != 0

    run = project.newest("train")
    assert (run.info.status, run.data.metrics["loss"]) == ("FAILED", 0.25)
    if route == PHASES or body.startswith(("raise", "sys")):  # else nobody is left to write it
        assert said in run.data.tags["phase.reason"]


def test_a_phase_that_failed_is_run_again_when_its_cause_is_mended(make_project: MakeProject) -> None:
    project = one_phase(make_project, "sys.exit(5)")
    failed = project.run("train")
    assert (failed.exit_code, "Fix the cause and run it again" in failed.text) == (1, True)
    project.edit("train.py", "sys.exit(5)", "phase.log(score=1)")

    assert project.run("train").exit_code == 0
    assert [run.info.status for run in project.runs("train")] == ["FINISHED", "FAILED"]


def test_a_script_that_ends_itself_well_is_complete(make_project: MakeProject) -> None:
    project = one_phase(make_project, "phase.log(score=1)\nphase.output('done.txt', __file__)\nsys.exit(0)")
    assert project.run("train").exit_code == 0
    run = project.newest("train")
    assert (run.info.status, "phase.completed_at" in run.data.tags) == ("FINISHED", True)
    assert project.run("train").text.count("reuse") == 1


def test_an_output_whose_name_could_do_harm_is_refused_and_the_run_failed(make_project: MakeProject) -> None:
    names = ["/tmp/escape.txt", "a/../../escape.txt", "line\nbreak", "x" * 10_000, "manifest.json", ""]
    body = f"""from mlflow_plugin import PhaseError
phase.log(score=1)
for name in {names!r}:
    try:
        phase.output(name, __file__)
        sys.exit(f"{{name}} was taken")
    except PhaseError as error:
        print("refused:", str(error)[:200])
phase.output("../escape.txt", __file__)"""
    project = one_phase(make_project, body)
    result = project.run("train")
    assert result.exit_code == 1, result.text
    assert result.text.count("refused:") == len(names)
    assert "Traceback" not in result.text
    run = project.newest("train")
    assert (run.info.status, "../escape.txt" in run.data.tags["phase.reason"]) == ("FAILED", True)
    assert not list(project.folder.parent.rglob("*escape*"))


def test_strange_but_harmless_output_names_are_kept_as_they_are(make_project: MakeProject, route: str) -> None:
    names = ["$(touch pwned)", "a b;c&d", "'quoted' \"twice\"", "snowman \u2603.txt", "-rf", "%2e%2e"]
    body = "phase.log(score=1)\n" + "\n".join(f"phase.output({name!r}, __file__)" for name in names)
    project = one_phase(make_project, body)
    assert project.run("train", route).exit_code == 0
    outputs = project.output_file(project.newest("train"), "").parent
    assert sorted(path.name for path in (outputs / "outputs").iterdir()) == sorted([*names, "manifest.json"])
    assert "reuse" in project.run("train", route).text
    assert not list(project.folder.rglob("pwned"))


HOSTILE = ["$(touch pwned); `touch pwned` #", "../../etc\ntwo lines '\"\\ \u2603 \U0001f984", "-P a=b=c"]


def test_hostile_parameter_values_reach_the_script_as_they_are(make_project: MakeProject, route: str) -> None:
    body = "phase.log(score=1)\nphase.output('text', lambda path: path.write_text(sys.argv[1]))"
    project = one_phase(make_project, body)
    for value in HOSTILE:
        assert project.run("train", route, text=value).exit_code == 0
        run = project.newest("train")
        assert project.output_file(run, "text").read_text() == value
        assert run.data.tags["phase.verdict"] == "run"
        assert "reuse" in project.run("train", PHASES, text=value).text
    assert not list(project.folder.rglob("pwned"))


def test_long_values_that_differ_only_at_their_end_are_never_taken_for_the_same(
    make_project: MakeProject, route: str
) -> None:
    body = "phase.log(score=1)\nphase.output('text', lambda path: path.write_text(sys.argv[1]))"
    project = one_phase(make_project, body)
    for value in ("x" * 9_999 + "1", "x" * 9_999 + "2"):
        assert project.run("train", route, text=value).exit_code == 0
        assert project.newest("train").data.tags["phase.verdict"] == "run"
        assert project.output_file(project.newest("train"), "text").read_text() == value
    result = project.run("train", route, text="x" * 9_999 + "1")
    assert result.exit_code == 0
    assert project.newest("train").data.tags["phase.verdict"] == "reuse"


def test_a_long_value_that_the_command_never_shows_is_still_told_apart_with_the_backend(
    make_project: MakeProject,
) -> None:
    mlproject = MLPROJECT.replace("train.py {text} {count}", "train.py {count}")
    project = one_phase(make_project, "phase.log(score=1)", mlproject)
    for value in ("x" * 9_999 + "1", "x" * 9_999 + "2"):
        result = project.run("train", text=value)
        assert result.exit_code == 0, result.text
        assert project.newest("train").data.tags["phase.verdict"] == "run"
