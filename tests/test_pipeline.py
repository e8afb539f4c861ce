"""What a pipeline hands down to its phases."""

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.mlproject import load_project
from mlflow_plugin.pipeline import check_parameters, handed_down

MLPROJECT = """
entry_points:
  collect: {parameters: {rows: int}, command: "python collect.py {rows}", phase: }
  train: {command: "python train.py", phase: {needs: [collect]}}
  main: {parameters: {rows: {type: int, default: 5}}, pipeline: [train]}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "MLproject").write_text(MLPROJECT, encoding="utf-8")
    return load_project(tmp_path)


@pytest.mark.parametrize(
    ("phase", "given", "expected"),
    [
        ("collect", {}, {"rows": 5}),
        ("collect", {"rows": "7", "collect_run_id": "c0ffee"}, {"rows": "7"}),
        ("train", {"rows": "7"}, {}),
        ("train", {"collect_run_id": "c0ffee"}, {"collect_run_id": "c0ffee"}),
        ("train", {"decide": "reuse", "price_per_hour": "2"}, {"decide": "reuse", "price_per_hour": "2"}),
    ],
)
def test_a_phase_is_handed_its_own_parameters_its_pins_and_the_plugins(project, phase, given, expected):
    assert handed_down(project.pipelines["main"], project.phases[phase], given) == expected


def test_a_parameter_that_no_phase_has_is_refused_with_those_there_are(project):
    with pytest.raises(UsageError, match=r"main has no parameter 'row'\. Its parameters: collect_run_id, decide"):
        check_parameters(project, project.pipelines["main"], {"row": 1})
