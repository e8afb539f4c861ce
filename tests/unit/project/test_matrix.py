"""The combinations of a matrix, the keys that declare one, and the runs that it stands for."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.identity import Identity, recipe_of
from mlflow_plugin.project.matrix import Matrix, listed_values, one_of_each
from mlflow_plugin.project.members import member_of, member_with, members_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.outputs import handed_over
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.pipeline_parameters import check_parameters, parameters_for_phase
from mlflow_plugin.project.project import Project
from mlflow_plugin.store.declaration import declaration, declared_projects

DECLARED = {
    "seed": Parameter("seed", "int", 0),
    "rate": Parameter("rate", "float", 0.1),
    "model": Parameter("model", "string", "small"),
}
MLPROJECT = """\
name: demo
entry_points:
  prepare: {{command: "python prepare.py", phase: }}
  train:
    parameters:
      seed: {{type: int, default: 0}}
      rate: {{type: float, default: 0.1}}
      device: {{type: string, default: cpu}}
    command: "python train.py {{seed}} {{rate}}"
    phase: {{needs: [prepare], ignore: [device]{train}}}
  mean:
    parameters: {{path: {{type: string, default: x}}}}
    command: "python mean.py {{path}}"
    phase: {{{mean}}}
  main:
    parameters: {{{main}}}
    pipeline: [mean]
"""


def project(folder: Path, train: str, mean: str = "needs: [train]", main: str = "") -> Project:
    (folder / "MLproject").write_text(MLPROJECT.format(train=f", {train}" if train else "", mean=mean, main=main))
    for name in ("prepare", "train", "mean"):
        (folder / f"{name}.py").write_text("print(1)\n")
    return load_project(folder)


values = st.fixed_dictionaries(
    {
        "seed": st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
        "rate": st.lists(st.sampled_from([0.1, 0.2, 1, "3e-4"]), min_size=1, max_size=3, unique=True),
    }
)


@given(values, st.data())
def test_every_combination_that_is_not_excluded_comes_once_and_in_order(values: dict, data: st.DataObject) -> None:
    every = [dict(zip(values, map(str, one), strict=True)) for one in product(*values.values())]
    excluded = data.draw(st.lists(st.sampled_from(every), max_size=3))
    left = [one for one in every if one not in excluded]
    assume(left)
    matrix = Matrix.checked(values, DECLARED, excluded)
    assert matrix.combinations() == left
    assert matrix.count() == matrix.wanted() == len(left)
    assert matrix.combinations(2) == left[:2]


@given(values)
def test_values_that_are_given_take_the_place_of_the_declared_ones(values: dict) -> None:
    matrix = Matrix.checked({"seed": [0], "rate": [0.5]}, DECLARED)
    given = {name: ",".join(map(str, listed)) for name, listed in values.items()}
    ordered = {name: values[name] for name in ("seed", "rate")}
    assert matrix.with_values(given).combinations() == Matrix.checked(ordered, DECLARED).combinations()
    assert matrix.with_values({"device": "gpu"}) is matrix


@given(st.lists(st.text('ab,[]" ').map(str.strip), min_size=2, max_size=4))
def test_any_texts_can_be_given_as_json(texts: list[str]) -> None:
    import json

    assert listed_values(json.dumps(texts)) == texts


def test_a_part_of_a_combination_excludes_all_that_have_it() -> None:
    matrix = Matrix.checked({"seed": [0, 1], "rate": [0.1, 0.2]}, DECLARED, [{"seed": "0"}, {"rate": "2e-1"}])
    assert matrix.combinations() == [{"seed": "1", "rate": "0.1"}]
    with pytest.raises(UsageError, match=r"seed=0: `exclude` leaves no combination of these"):
        matrix.with_values({"seed": 0})


def test_fewer_values_lower_the_number_that_is_enough() -> None:
    matrix = Matrix.checked({"seed": range(5)}, DECLARED, at_least=4)  # type: ignore[dict-item]
    assert (matrix.wanted(), matrix.with_values({"seed": "0,1"}).wanted()) == (4, 2)


def test_one_value_of_each_parameter_is_one_run() -> None:
    assert one_of_each(["seed"], {"seed": "3"})
    assert not one_of_each(["seed"], {"seed": "3,4"})
    assert not one_of_each(["seed", "rate"], {"seed": "3"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("matrix: [1]", "`phase.matrix`: input should be a valid dictionary"),
        ("matrix: {}", "names no parameter"),
        ("matrix: {seed: 3}", "'seed' must be a list, got 3"),
        ("matrix: {seed: []}", "the list of 'seed' is empty"),
        ("matrix: {epochs: [1]}", "'epochs' is not a parameter of this entry point"),
        ("matrix: {device: [cpu]}", "'device' stands under `ignore`"),
        ("matrix: {seed: [a]}", "'seed' must be an integer, got 'a'"),
        ("matrix: {seed: [true]}", "'seed' must be an integer, got 'True'"),
        ("matrix: {seed: [null]}", "'seed' has None, which is no value"),
        ("matrix: {seed: [[1]]}", r"'seed' has \[1\], which is no value"),
        ("matrix: {seed: [1, 1]}", "'seed' has 1 twice"),
        ("matrix: {rate: [0.1, 1e-1]}", "'rate' has 0.1 and 1e-1, which are the same value"),
        ("exclude: [{seed: 1}]", "`phase.exclude`: there is no `matrix:` that it belongs to"),
        ("at_least: 2", "`phase.at_least`: there is no `matrix:`"),
        ("at_most: 2", "`phase.at_most`: there is no `matrix:`"),
        ("matrix: {seed: [1, 2]}, at_least: 3", "`at_least` is 3, and there are 2 of them"),
        ("matrix: {seed: [1, 2]}, at_least: 0", "`phase.at_least`: input should be greater"),
        ("matrix: {seed: [1, 2]}, exclude: [{seed: 1}, {seed: 2}]", "`exclude` leaves no combination"),
        ("matrix: {seed: [1, 2]}, exclude: [{seed: 3}]", "`exclude` has {'seed': 3}, which is no combination"),
        ("matrix: {seed: [1, 2]}, exclude: [{rate: 0.1}]", "`exclude` has 'rate', which is no parameter of the matrix"),
        ("matrix: {seed: [1, 2]}, exclude: [{}]", "`exclude` has {}, which names no parameter"),
        ("matrix: {seed: [1, 2], exclude: 3}", "`phase.exclude`: must be a list of mappings, got 3"),
        ("matrix: {seed: [1, 2]}, outputs: [models]", "'models' does not name the parameter 'seed' of the matrix"),
        ("matrix: {seed: [1, 2]}, outputs: ['m/{rate}.pkl']", "does not name the parameter 'seed'"),
        (f"matrix: {{seed: {list(range(1001))}, rate: {list(range(1001))}}}", "makes 1,002,001 combinations"),
    ],
)
def test_a_mistake_in_the_keys_names_file_entry_point_key_and_what_is_allowed(
    tmp_path: Path, keys: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        project(tmp_path, keys)
    assert str(refused.value).startswith(f"{tmp_path}/MLproject: entry point 'train', key `phase.")
    assert "Allowed: " in str(refused.value)


def test_exclude_may_stand_in_the_matrix_or_beside_it(tmp_path: Path) -> None:
    inside = project(tmp_path, "matrix: {seed: [0, 1], exclude: [{seed: 0}]}").phases["train"].matrix
    beside = project(tmp_path, "matrix: {seed: [0, 1]}, exclude: [{seed: 0}]").phases["train"].matrix
    assert inside == beside


def test_an_artifact_of_a_matrix_is_no_parameter(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'path' cannot be an artifact of train, whose matrix makes several runs"):
        project(tmp_path, "matrix: {seed: [0, 1]}", mean="inputs: {path: train/model.pkl}")


def test_each_run_has_its_own_outputs_and_all_of_them_count_as_handed_over(tmp_path: Path) -> None:
    declared = project(tmp_path, "matrix: {seed: [0, 1], rate: [0.5]}, outputs: ['models/{seed}/{rate}.pkl']")
    members = members_of(declared.phases["train"], {})
    assert [(one.phase.full_name, one.phase.outputs) for one in members] == [
        ("train seed=0, rate=0.5", ("models/0/0.5.pkl",)),
        ("train seed=1, rate=0.5", ("models/1/0.5.pkl",)),
    ]
    assert handed_over(declared, declared.phases["mean"]) == ("models/*/*.pkl",)
    with pytest.raises(UsageError, match=r"train and 'models', an output|may name the same file"):
        project(
            tmp_path, "matrix: {seed: [0, 1]}, outputs: ['m/{seed}.pkl']", mean="needs: [train], outputs: [m/5.pkl]"
        )


def test_a_value_that_is_no_part_of_a_file_name_is_refused(tmp_path: Path) -> None:
    phase = project(tmp_path, "matrix: {seed: [0, 1]}, outputs: ['m/{seed}.pkl']").phases["train"]
    for value in ("../0", "a/b", "*", ".."):
        with pytest.raises(UsageError, match="cannot be a part of the output"):
            member_with(phase, {"seed": value})


def test_a_run_of_a_matrix_is_the_run_with_its_values(tmp_path: Path) -> None:
    plain = project(tmp_path, "")
    digests = {}
    for seed in ("0", "1"):
        recipe = recipe_of(plain, plain.phases["train"], {"seed": seed})
        digests[seed] = (Identity(recipe, {"prepare": "d"}).digests(), Identity(recipe, {"prepare": "d"}).fingerprint())
    declared, codes = project(tmp_path, "matrix: {seed: [0, 1]}"), {}
    for member in members_of(declared.phases["train"], {}):
        recipe = recipe_of(declared, member.phase, member.given({}), codes=codes)
        identity = Identity(recipe, {"prepare": "d"})
        assert (identity.digests(), identity.fingerprint()) == digests[member.values["seed"]]
    assert len(codes) == 1
    assert member_of(declared.phases["train"], {"seed": "1.0"}).member == {"seed": "1"}


def test_a_value_that_may_select_code_is_looked_at_by_itself(tmp_path: Path) -> None:
    declared, codes = project(tmp_path, "matrix: {seed: [0, 1]}"), {}
    (tmp_path / "1").write_text("data")
    recipes = [
        recipe_of(declared, one.phase, one.given({}), codes=codes) for one in members_of(declared.phases["train"], {})
    ]
    assert recipes[0].named == {}
    assert len(codes) == 1


def test_a_path_in_a_matrix_starts_from_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text(
        "name: demo\nentry_points:\n  train:\n    parameters: {data: path}\n"
        "    command: 'python train.py {data}'\n    phase: {matrix: {data: [a.csv, b.csv]}}\n"
    )
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
    declared = load_project(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    recipes = [
        recipe_of(declared, one.phase, one.given({}), elsewhere) for one in members_of(declared.phases["train"], {})
    ]
    assert [list(one.named_paths.values()) for one in recipes] == [[str(tmp_path / "a.csv")], [str(tmp_path / "b.csv")]]
    assert all(one.parameters["data"][0].startswith("sha256:") for one in recipes)


@pytest.mark.parametrize(
    ("main", "given", "expected"),
    [
        ("", {}, ["0", "1"]),
        ("seed: {type: int, default: 0}", {}, ["0", "1"]),
        ("seed: {type: int, default: 0}", {"seed": "0"}, ["0"]),
        ("seed: {type: int, default: 0}", {"seed": "3"}, ["3"]),
        ("seed: {type: string, default: '4,5,6'}", {}, ["4", "5", "6"]),
        ("", {"seed": "2,3"}, ["2", "3"]),
    ],
)
def test_a_pipeline_hands_on_lists_and_a_single_default_narrows_nothing(
    tmp_path: Path, main: str, given: dict[str, object], expected: list[str]
) -> None:
    declared = project(tmp_path, "matrix: {seed: [0, 1]}", main=main)
    pipeline, phase = declared.pipelines["main"], declared.phases["train"]
    check_parameters(declared, pipeline, given)
    members = members_of(phase, parameters_for_phase(pipeline, phase, given))
    assert [one.values["seed"] for one in members] == expected


def test_the_phase_after_a_matrix_takes_the_runs_as_a_list(tmp_path: Path) -> None:
    assert "train_run_ids" in project(tmp_path, "matrix: {seed: [0, 1]}").phases["mean"].steering_parameters
    assert "train_run_ids" not in project(tmp_path, "").phases["mean"].steering_parameters


@pytest.mark.parametrize("count", [2, 3000])
def test_a_server_knows_of_a_matrix_from_the_experiment(tmp_path: Path, count: int) -> None:
    tags = declaration(project(tmp_path, f"matrix: {{seed: {list(range(count))}}}, at_most: {count}"))
    assert max(map(len, tags.values())) < 5000
    matrix = declared_projects(tags)["demo"].phases["train"].matrix
    assert matrix is not None
    assert matrix.count() == min(count, 3)
    assert "matrix" not in str(declaration(project(tmp_path, "")))
