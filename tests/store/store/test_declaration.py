from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.project import Project
from mlflow_plugin.store import schema
from mlflow_plugin.store.declaration import declaration, declared_projects

ROOT = Path(__file__).resolve().parents[3]
ALL_KEYS = """\
name: everything
entry_points:
  main:
    parameters: {epochs: {type: int, default: 3}}
    command: "python -m mlflow_plugin.pipeline"
    pipeline: [train]
  collect:
    command: "python collect.py"
    phase: {}
  train:
    parameters:
      epochs: {type: int, default: 10}
      rate: float
      device: {type: string, default: auto}
    command: "python train.py"
    phase:
      needs: [collect]
      ignore: [device]
      size: [epochs]
      quality: {metric: loss, good: 0.1, poor: 0.5, higher_is_better: false}
      gates: ["loss < base_loss", "base_loss > 0"]
      max_age: 1.5d
      timeout_minutes: 90
"""


@pytest.fixture
def everything(tmp_path: Path) -> Project:
    (tmp_path / "MLproject").write_text(ALL_KEYS, encoding="utf-8")
    return load_project(tmp_path)


def without_folder(project: Project) -> Project:
    """Return the parts of a project that a declaration keeps."""
    pipelines = {name: replace(one, parameters={}) for name, one in project.pipelines.items()}
    nowhere = {"directory": Path("."), "file": Path("MLproject"), "other_entry_points": frozenset()}
    return replace(project, pipelines=pipelines, **nowhere)


def test_a_project_is_read_back_from_the_tags_as_it_was_declared(everything):
    assert declared_projects(declaration(everything)) == {"everything": without_folder(everything)}


def test_the_order_of_the_phases_survives(everything):
    (found,) = declared_projects(dict(reversed(declaration(everything).items()))).values()
    assert [phase.name for phase in found.order(found.phases)] == ["collect", "train"]


def test_two_projects_of_one_experiment_are_kept_apart(everything):
    other = load_project(ROOT)
    assert set(declared_projects(declaration(everything) | declaration(other))) == {"everything", other.name}


def test_a_phase_that_is_no_longer_declared_is_gone(everything):
    fewer = replace(everything, phases={"collect": everything.phases["collect"]}, pipelines={})
    (found,) = declared_projects(declaration(everything) | declaration(fewer)).values()
    assert (list(found.phases), dict(found.pipelines)) == (["collect"], {})


def test_a_phase_with_more_parameters_than_a_tag_holds_keeps_what_its_state_is_judged_by(everything):
    train = everything.phases["train"]
    many = {f"parameter_{number:04d}": train.parameters["epochs"] for number in range(500)} | dict(train.parameters)
    big = replace(everything, phases={**everything.phases, "train": replace(train, parameters=many)})
    tags = declaration(big)
    assert max(len(value) for value in tags.values()) < 5000
    found = declared_projects(tags)["everything"].phases["train"]
    assert (found.needs, found.quality, found.gates) == (train.needs, train.quality, train.gates)


@given(damage=st.text(max_size=40), place=st.integers(min_value=0, max_value=3))
def test_damaged_tags_never_raise(damage, place):
    tags = declaration(load_project(ROOT))
    key = sorted(tags)[place]
    assert isinstance(declared_projects({**tags, key: damage}), dict)
    assert isinstance(declared_projects({**tags, key: tags[key][: len(damage)] + damage}), dict)


def test_a_deeply_nested_tag_hides_no_other_project(everything):
    tags = declaration(everything)
    tags |= {f"{schema.DECLARED_PROJECT}hostile": "[" * 4000, f"{schema.DECLARED_ENTRY_POINT}hostile": '{"a":' * 900}
    assert list(declared_projects(tags)) == ["everything"]


def test_a_start_keeps_the_declaration_with_the_experiment(demo):
    demo.compute("collect")
    tags = demo.client.get_experiment("0").tags
    assert declared_projects(tags)["demo"] == without_folder(load_project(demo.folder))


def test_a_changed_quality_is_kept_at_the_next_start_and_an_unchanged_file_is_not_written_again(demo, monkeypatch):
    demo.compute("collect")
    written = []
    write = demo.client.set_experiment_tag

    def note(experiment_id: str, key: str, value: object) -> None:
        written.append(key)
        write(experiment_id, key, value)

    monkeypatch.setattr(demo.client, "set_experiment_tag", note)
    demo.settle("collect")
    assert not [key for key in written if "declared" in key]
    demo.edit("MLproject", "good: 0.85", "good: 0.8")
    demo.settle("collect")
    assert len([key for key in written if "declared" in key]) == 1
    assert declared_projects(demo.client.get_experiment("0").tags)["demo"].phases["train"].quality.good == 0.8


def test_a_store_that_refuses_the_declaration_costs_no_work(demo, monkeypatch, capsys):
    write = demo.client.set_experiment_tag

    def refuse(experiment_id: str, key: str, value: str) -> None:
        if not key.startswith(schema.LATEST) and len(value) > 100:
            raise MlflowException("value too long for type character varying")
        write(experiment_id, key, value)

    monkeypatch.setattr(demo.client, "set_experiment_tag", refuse)
    demo.compute("collect")
    assert demo.run(demo.settle("collect").run_id).status == "FINISHED"
    said = capsys.readouterr().err
    assert "the declaration of demo could not be recorded in experiment 0 (value too long" in said
    known = demo.client.get_experiment("0").tags
    assert any(key.startswith(schema.DECLARED_PROJECT) for key in known)  # What fits is kept.
