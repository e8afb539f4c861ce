import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mlflow_plugin.project import recipe
from mlflow_plugin.project.identity import Identity, recipe_of
from mlflow_plugin.project.mlproject import load_project

COMMAND = "python train.py --epochs {epochs}"
PARAMETERS = "{epochs: {type: int, default: 10}}"
DIGEST = "ab" * 32

MakeIdentity = Callable[..., Identity]


@pytest.fixture
def identity(tmp_path: Path) -> MakeIdentity:
    """Return a function that writes a project of one phase and gives the phase's identity with some values."""
    (tmp_path / "helper.py").write_text("ONE = 1\n")
    (tmp_path / "train.py").write_text("import helper\n")

    def make(
        values: Mapping[str, object] | None = None,
        parameters: str = PARAMETERS,
        command: str = COMMAND,
        phase: str = "{needs: [collect]}",
        inputs: Mapping[str, str] | None = None,
        argv: tuple[str, ...] = (),
    ) -> Identity:
        (tmp_path / "MLproject").write_text(
            f'entry_points:\n  collect:\n    command: "x"\n    phase: {{}}\n  train:\n    parameters: {parameters}\n'
            f"    command: {json.dumps(command)}\n    phase: {phase}\n"
        )
        project = load_project(tmp_path)
        train = project.phase("train")
        made = recipe_of(project, train, values or {}, tmp_path, argv)
        return Identity(made, inputs or {"collect": DIGEST})

    return make


def found_by(new: Identity, old: Identity) -> bool:
    """Return whether a run of the old identity is found and counts as the same when the new one is looked up."""
    return bool({*new.digests()} & {*old.digests()}) and not differences(new, old)


def differences(new: Identity, old: Identity, **only: bool) -> list[str]:
    return new.differences(json.loads(old.fingerprint()), **only)


def test_an_identity_equals_itself(identity):
    assert found_by(identity(), identity())
    assert identity().digests() == identity().digests()


@pytest.mark.parametrize(
    ("kind", "one", "other"), [("float", "1e-3", "0.001"), ("int", "10", "1e1"), ("", "0.001", 0.001)]
)
def test_parameters_are_compared_as_values(identity, kind, one, other):
    declared = f"{{epochs: {{type: '{kind}', default: 5}}}}"
    assert found_by(identity({"epochs": one}, declared), identity({"epochs": other}, declared))


def test_another_value_is_another_identity_and_is_explained(identity):
    old, new = identity({"epochs": 10}), identity({"epochs": 20})
    assert not {*old.digests()} & {*new.digests()}
    assert differences(new, old) == ["epochs (10 -> 20)"]


def test_a_parameter_that_an_old_run_lacks_counts_as_its_declared_default(identity):
    old = identity()
    more = "{epochs: {type: int, default: 10}, batch: {type: int, default: 8}}"
    assert found_by(identity({}, more), old)
    assert not found_by(identity({"batch": 16}, more), old)
    assert differences(identity({"batch": 16}, more), old) == ["batch (8 -> 16)"]


def test_a_parameter_may_be_added_to_the_command_too(identity):
    old = identity()
    more = "{epochs: {type: int, default: 10}, batch: {type: int, default: 8}}"
    for command in (f"{COMMAND} --batch {{batch}}", f"{COMMAND} --batch={{batch}}", f"{COMMAND} {{batch}}"):
        assert found_by(identity({}, more, command), old)
        assert not found_by(identity({"batch": 16}, more, command), old)


def test_an_added_parameter_without_default_matches_no_old_run(identity):
    new = identity({"batch": 8}, "{epochs: {type: int, default: 10}, batch: int}")
    assert not found_by(new, identity())
    assert differences(new, identity()) == ["batch (not given -> 8)"]


def test_a_run_made_at_the_old_default_is_not_that_of_the_new_default(identity):
    old = identity()
    changed = "{epochs: {type: int, default: 20}}"
    assert not found_by(identity({}, changed), old)
    assert differences(identity({}, changed), old) == ["epochs (10 -> 20)"]


def test_the_old_default_given_explicitly_matches_the_old_run(identity):
    assert found_by(identity({"epochs": 10}, "{epochs: {type: int, default: 20}}"), identity())


def test_a_value_that_has_become_the_default_matches_the_run_that_was_given_it(identity):
    assert found_by(identity({}, "{epochs: {type: int, default: 20}}"), identity({"epochs": 20}))


def test_ignored_parameters_answers_and_pins_do_not_count(identity):
    declared = (
        "{epochs: {type: int, default: 10}, device: {default: cpu}, decide: {default: ask}, "
        "collect_run_id: {default: latest}}"
    )
    phase = "{needs: [collect], ignore: [device]}"
    command = f"{COMMAND} --device {{device}} --collect {{collect_run_id}}"
    one = identity({}, declared, command, phase)
    other = identity({"device": "cuda", "decide": "rerun", "collect_run_id": "abc"}, declared, command, phase)
    assert found_by(other, one)
    assert list(one.recipe.parameters) == ["epochs"]


def test_using_a_parameter_in_another_way_is_another_identity(identity):
    old, new = identity(), identity(command="python train.py --steps {epochs}")
    assert not found_by(new, old)
    assert differences(new, old) == ["how the command uses epochs"]


def test_arguments_that_changed_places_are_another_identity(identity):
    declared = "{epochs: {type: int, default: 10}, batch: {type: int, default: 10}}"
    old = identity({}, declared, "python train.py {epochs} {batch}")
    new = identity({}, declared, "python train.py {batch} {epochs}")
    assert not found_by(new, old)
    assert differences(new, old) == ["how the command uses batch", "how the command uses epochs"]


def test_an_option_of_another_command_of_the_line_is_another_identity(identity):
    old = identity(command="python train.py --epochs {epochs} && python helper.py")
    new = identity(command="python train.py && python helper.py --epochs {epochs}")
    assert not found_by(new, old)
    assert differences(new, old) == ["how the command uses epochs"]


def test_a_parameter_or_an_input_that_was_removed_is_a_difference(identity):
    declared = "{epochs: {type: int, default: 10}, batch: {type: int, default: 8}}"
    old = identity({}, declared, f"{COMMAND} --batch {{batch}}", inputs={"collect": DIGEST, "label": DIGEST})
    assert differences(identity(), old) == ["batch, which is no longer a parameter", "label, which is no longer needed"]
    assert differences(identity(), old, inputs=False) == ["batch, which is no longer a parameter"]


def test_a_parameter_that_was_added_to_those_ignored_is_no_difference(identity):
    declared = "{epochs: {type: int, default: 10}, device: {default: cpu}}"
    command = f"{COMMAND} --device {{device}}"
    old = identity({"device": "cuda"}, declared, command)
    assert differences(identity({}, declared, command, "{needs: [collect], ignore: [device]}"), old) == []


def test_another_command_is_another_identity(identity):
    old, new = identity(), identity(command=f"{COMMAND} --fast")
    assert not found_by(new, old)
    assert differences(new, old) == ["the command"]


def test_changed_code_is_explained_by_the_name_of_the_file(identity, tmp_path):
    old = identity()
    (tmp_path / "helper.py").write_text("ONE = 2\n")
    new = identity()
    assert not found_by(new, old)
    assert differences(new, old) == ["the code of helper.py"]


def test_a_module_that_moved_with_its_import_is_told_as_moved(identity, tmp_path):
    old = identity()
    (tmp_path / "lib").mkdir()
    (tmp_path / "helper.py").rename(tmp_path / "lib" / "helper.py")
    (tmp_path / "train.py").write_text("from lib import helper\n")
    assert differences(identity(), old) == ["the code of train.py", "helper.py moved to lib/helper.py"]
    (tmp_path / "lib" / "helper.py").write_text("ONE = 2\n")
    assert differences(identity(), old) == ["the code of helper.py, lib/helper.py, train.py"]


def test_a_comment_changes_nothing(identity, tmp_path):
    old = identity()
    (tmp_path / "helper.py").write_text('"""Numbers."""\n\nONE = (1)  # the first one\n')
    assert found_by(identity(), old)


def test_other_bytes_of_an_input_are_another_identity_of_the_same_configuration(identity):
    old, new = identity(), identity(inputs={"collect": "cd" * 32})
    assert not {*old.digests()} & {*new.digests()}
    assert old.config_digests() == new.config_digests()
    assert differences(new, old) == ["the output of collect"]
    assert differences(new, old, inputs=False) == []


def test_a_path_counts_by_its_content_wherever_it_is(identity, tmp_path):
    declared, command = "{data: path}", "python train.py {data}"
    for name, content in (("one.csv", "1"), ("same.csv", "1"), ("other.csv", "2")):
        (tmp_path / name).write_text(content)
    one, same, other = (identity({"data": f"{name}.csv"}, declared, command) for name in ("one", "same", "other"))
    assert found_by(same, one)
    assert not found_by(other, one)
    absolute = identity({"data": "one.csv"}, declared, command, argv=("train.py", str(tmp_path / "same.csv")))
    assert found_by(absolute, one)


def test_a_folder_counts_by_the_names_and_bytes_of_its_files(identity, tmp_path):
    declared, command = "{data: path}", "python train.py {data}"
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.csv").write_text("1")
    old = identity({"data": "data"}, declared, command)
    (folder / "a.csv").rename(folder / "b.csv")
    assert not found_by(identity({"data": "data"}, declared, command), old)


def test_a_text_that_may_name_a_file_counts_by_the_content_of_the_file_or_else_as_text(identity, tmp_path):
    declared, command = "{data: {type: string, default: auto}}", "python train.py {data}"
    phase = "{needs: [collect], paths: [data]}"
    file = tmp_path / "rows.jsonl"
    file.write_text("1")
    named, old = identity({}, declared, command, phase), identity({"data": str(file)}, declared, command, phase)
    file.write_text("22")
    assert not found_by(identity({"data": str(file)}, declared, command, phase), old)
    assert not found_by(identity({"data": "gsm8k"}, declared, command, phase), named)
    assert found_by(identity({"data": "auto"}, declared, command, phase), named)


def test_a_path_elsewhere_counts_by_its_name(identity):
    declared, command = "{data: path}", "python train.py {data}"
    one, other = (identity({"data": f"s3://bucket/{name}"}, declared, command) for name in "ab")
    assert found_by(one, one)
    assert not found_by(other, one)


@pytest.mark.parametrize("length", [200, 6000, 8000, 20_000])
def test_long_values_that_differ_at_their_end_never_count_as_the_same(identity, length):
    declared, command = "{prompt: string}", "python train.py {prompt}"
    one, other = (identity({"prompt": "x" * length + end}, declared, command) for end in "ab")
    assert found_by(one, one)
    assert not {*one.digests()} & {*other.digests()}
    assert differences(other, one)


@pytest.mark.parametrize("count", [30, 60, 300])
def test_a_fingerprint_always_fits_into_a_tag_and_still_differs(identity, tmp_path, count):
    declared = "{" + ", ".join(f"parameter_{n}: {{type: string, default: {'v' * 150}}}" for n in range(count)) + "}"
    command = "python train.py " + " ".join(f"--parameter_{n} {{parameter_{n}}}" for n in range(count))
    for number in range(200):
        (tmp_path / f"a_helper_with_a_long_name_{number}.py").write_text("")
    (tmp_path / "train.py").write_text("".join(f"import a_helper_with_a_long_name_{n}\n" for n in range(200)))
    one, other = identity({}, declared, command), identity({"parameter_7": "w"}, declared, command)
    assert len(one.fingerprint()) < 8000
    assert found_by(one, one)
    assert not found_by(other, one)


def test_a_run_without_fingerprint_is_never_the_same(identity):
    assert identity().differences({})


# --- the image ---


@pytest.fixture
def image(identity, tmp_path, monkeypatch) -> Callable[[str, str], Identity]:
    """Return a function that gives the identity of a project in an image, of which docker has an id."""

    def make(name: str, known: str = "") -> Identity:
        monkeypatch.setattr(recipe, "image_digest", lambda image: known)
        identity()
        file = tmp_path / "MLproject"
        file.write_text(file.read_text() + (f"docker_env: {{image: '{name}'}}\n" if name else ""))
        project = load_project(tmp_path)
        return Identity(recipe_of(project, project.phase("train"), {}, tmp_path), {"collect": DIGEST})

    return make


def test_the_name_and_tag_of_the_image_count(image):
    old = image("python:3.11")
    assert found_by(image("python:3.11"), old)
    assert differences(image("python:3.12"), old) == ["the image (python:3.11 -> python:3.12)"]
    assert not {*image("python:3.12").digests()} & {*old.digests()}
    assert differences(image(""), old) == ["the image (python:3.11 -> none)"]
    assert differences(old, image("")) == ["the image (none -> python:3.11)"]


def test_the_content_of_the_image_counts_where_docker_knows_it(image):
    old = image("python:3.11", "sha256:one")
    assert found_by(image("python:3.11", "sha256:one"), old)
    assert found_by(image("python:3.11"), old)
    assert found_by(old, image("python:3.11"))
    assert differences(image("python:3.11", "sha256:two"), old) == ["the content of the image python:3.11"]


def test_a_project_without_an_image_keeps_its_digests(identity, image):
    assert identity().digests() == image("").digests()
    assert "image" not in json.loads(identity().fingerprint())


VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(max_size=20), st.sampled_from(["0", "0.0", "1e0"])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(one=VALUES, other=VALUES)
def test_digests_and_differences_agree_on_what_is_the_same(identity, one, other):
    assume("\0" not in f"{one}{other}")
    declared, command = "{p: {default: 1}}", "python train.py {p}"
    first, second = identity({"p": one}, declared, command), identity({"p": other}, declared, command)
    assert (first.digests() == second.digests()) == (differences(second, first) == [])
