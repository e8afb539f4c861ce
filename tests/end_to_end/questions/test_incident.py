"""The incident that this project has to prevent. On 2025-11-04 a model of 98.9% fidelity, trained at 23:12 on data of
23:08, was trained over unasked because the data had been collected again at 23:19. Here the same happens, and it
survives.
"""

from dataclasses import dataclass

import pytest
from mlflow.entities import Run
from project_folder import LOCAL, PHASES, ProjectFolder
from three_phases import WITH_PLUGIN, kind, run_well

pytestmark = pytest.mark.end_to_end

COLLECTED, TRAINED, COLLECTED_AGAIN = (f"2025-11-04T{time}.000+00:00" for time in ("23:08:11", "23:12:02", "23:19:42"))
PRICE_PER_HOUR = 0.89
MINUTES = {"collect": 1, "train": 11}


@dataclass(frozen=True)
class Evening:
    """The project and its store at some time of that evening, and the route by which it is used."""

    project: ProjectFolder
    route: str
    data: Run
    model: Run

    def model_now(self) -> Run:
        return self.project.client.get_run(self.model.info.run_id)


def _run_at(project: ProjectFolder, phase: str, time: str, **parameters: str) -> None:
    """Run a phase and then make it look as if it had ended at that time and taken as long as the real one."""
    run_id, seconds = run_well(project, phase, **parameters).info.run_id, MINUTES[phase] * 60
    project.client.set_tag(run_id, "phase.completed_at", time)
    project.client.log_metric(run_id, "phase.duration_seconds", seconds)
    project.client.log_metric(run_id, "phase.cost_usd", seconds / 3600 * PRICE_PER_HOUR)


def _until_2315(project: ProjectFolder, files: dict[str, str]) -> None:
    """Data are collected and a model is trained on them."""

    def build(empty: ProjectFolder) -> None:
        empty.write(files)
        _run_at(empty, "collect", COLLECTED)
        _run_at(empty, "train", TRAINED)

    project.prepare(f"at-2315-{kind(files)}", build)


def _until_2320(project: ProjectFolder, files: dict[str, str]) -> None:
    """Other data are collected as well, by force."""

    def build(empty: ProjectFolder) -> None:
        _until_2315(empty, files)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TESTS_WORLD", "with diverse prompts")
            _run_at(empty, "collect", COLLECTED_AGAIN, decide="rerun")

    project.prepare(f"at-2320-{kind(files)}", build)


@pytest.fixture
def way() -> tuple[str, dict[str, str]]:
    """Return a route and the files of the project to go it with."""
    return PHASES, WITH_PLUGIN


@pytest.fixture(autouse=True)
def price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", str(PRICE_PER_HOUR))


@pytest.fixture
def at_2315(project: ProjectFolder, way: tuple[str, dict[str, str]]) -> Evening:
    """Return the evening when the model has been trained."""
    _until_2315(project, way[1])
    return Evening(project, way[0], project.newest("collect"), project.newest("train"))


@pytest.fixture
def at_2320(project: ProjectFolder, way: tuple[str, dict[str, str]]) -> Evening:
    """Return the evening when the data no longer match the model."""
    _until_2320(project, way[1])
    return Evening(project, way[0], project.newest("collect"), project.newest("train"))


def test_collecting_again_is_asked_about_while_a_good_model_depends_on_the_data(at_2315: Evening) -> None:
    project, model = at_2315.project, at_2315.model.info.run_id[:8]

    result = project.run("collect", at_2315.route, prompts=60)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "running collect would make 1 good downstream run stale" in result.text
    lost = f"train {model}, fidelity 0.989, finished 2025-11-04 23:12:02 UTC, took 11 min, cost $0.16"
    assert f"keeps  {lost}" in result.text
    assert f"supersedes  {lost}" in result.text
    stale = "train becomes stale (recomputing it would take about 11 min and $0.16)"
    assert f"B) Run collect again; {stale} - computes collect: about 1 min and $0.01" in result.text
    assert at_2315.model_now().data.to_dictionary() == at_2315.model.data.to_dictionary()


def test_training_is_neither_silently_repeated_nor_silently_skipped(at_2320: Evening) -> None:
    project, model = at_2320.project, at_2320.model.info.run_id[:8]

    result = project.run("train", at_2320.route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    for expected in (
        f"train {model} of 2025-11-04 23:12:02 UTC with fidelity 0.989 was made from collect",
        "of 2025-11-04 23:08:11 UTC",
        f"the latest collect is {at_2320.data.info.run_id[:8]} of 2025-11-04 23:19:42 UTC and its output differs",
        f"A) Keep train {model} of 2025-11-04 23:12:02 UTC with fidelity 0.989 and continue - nothing is computed",
        "B) Run train again - computes train: about 11 min and $0.16",
        f"supersedes  train {model}, fidelity 0.989, finished 2025-11-04 23:12:02 UTC, took 11 min, cost $0.16",
    ):
        assert expected in result.text
    asked = project.newest("train")
    assert (asked.data.tags["phase.verdict"], asked.info.status) == ("ask", "FAILED")
    assert at_2320.model_now().data.metrics["fidelity"] == 0.989
    assert project.output(at_2320.model)["fidelity"] == "0.989"


def test_the_pipeline_stops_before_training_as_well(at_2320: Evening) -> None:
    project = at_2320.project

    result = project.run("main", at_2320.route)

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert project.newest("collect").data.tags["phase.reused_run_id"] == at_2320.data.info.run_id
    assert project.newest("train").data.tags["phase.verdict"] == "ask"
    assert project.runs("report") == []


def test_answer_a_keeps_the_model_and_the_next_phase_works_with_it(at_2320: Evening) -> None:
    project, model = at_2320.project, at_2320.model.info.run_id

    result = project.run("train", at_2320.route, decide="reuse")

    assert (result.exit_code, project.executed()) == (0, []), result.text
    kept = project.newest("train")
    assert (kept.data.tags["phase.answer"], kept.data.tags["phase.reused_run_id"]) == ("A", model)
    assert kept.data.metrics["fidelity"] == 0.989
    assert kept.data.metrics["phase.saved_seconds"] == 660
    assert kept.data.metrics["phase.saved_usd"] == pytest.approx(0.163, abs=0.001)
    assert "phase.invalidated_by" not in at_2320.model_now().data.tags

    report = project.run("report", at_2320.route)
    assert (report.exit_code, project.executed()) == (0, ["report"]), report.text
    assert project.newest("report").data.tags["phase.input.train"] == model
    assert project.output(project.newest("report")) == ["report", [50, "as it was"]]


def test_answer_b_trains_again_and_writes_down_what_was_given_up(at_2320: Evening) -> None:
    project = at_2320.project

    result = project.run("train", at_2320.route, decide="rerun")

    assert (result.exit_code, project.executed()) == (0, ["train"]), result.text
    again = project.newest("train")
    assert project.output(again)["data"] == [50, "with diverse prompts"]
    assert again.data.tags["phase.input.collect"] == at_2320.data.info.run_id
    assert (again.data.tags["phase.answer"], again.data.tags["phase.verdict"]) == ("B", "run")
    given_up = at_2320.model_now()
    assert given_up.data.tags["phase.invalidated_by"] == again.info.run_id
    assert given_up.data.metrics["fidelity"] == 0.989
    assert project.output(given_up)["data"] == [50, "as it was"]


def test_the_mlflow_command_ends_with_3_and_prints_the_command_of_each_answer(at_2320: Evening) -> None:
    if at_2320.route == LOCAL:
        pytest.skip("MLflow's own backend ends with 1 whatever its child said")
    project = at_2320.project

    result = project.command("mlflow", "run", ".", "-e", "train", "-b", "phases")

    assert (result.exit_code, project.executed()) == (3, []), result.text
    assert "A) mlflow run . -e train -b phases -P decide=reuse" in result.text
    assert "B) mlflow run . -e train -b phases -P decide=rerun" in result.text
