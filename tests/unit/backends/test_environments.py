import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.projects import env_type

from mlflow_plugin.backends.environments import choose_env_manager
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.requirements import unmet_requirements

HERE = ".".join(map(str, sys.version_info[:3]))
MINOR = ".".join(map(str, sys.version_info[:2]))
PYTEST = metadata.version("pytest")


def unmet(folder: Path, text: str, name: str = "conda.yaml") -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    return unmet_requirements(folder / name)


def project(file: Path | None, kind: str = env_type.CONDA) -> SimpleNamespace:
    """Stands for MLflow's own description of a project."""
    return SimpleNamespace(env_type=kind, env_config_path=None if file is None else str(file))


@pytest.mark.parametrize(
    "entry",
    [
        "pytest",
        "pytest>=1",
        f"pytest=={PYTEST}",
        f"pytest={PYTEST}",
        f"pytest={PYTEST.split('.')[0]}",
        f"pytest={PYTEST}=py_0",
        "python",
        f"python={MINOR}",
        f"python=={HERE}",
        f"python={HERE}",
        f"python>={MINOR}",
        "python>=3.8,<4",
        "pip",
        "pip>=20",
        "setuptools",
        "wheel",
    ],
)
def test_a_conda_entry_that_is_here_is_met(tmp_path, entry):
    assert unmet(tmp_path, f"dependencies:\n  - '{entry}'\n") == []


@pytest.mark.parametrize(
    ("entry", "phrase"),
    [
        ("no-such-package", "no-such-package is not installed"),
        ("pytest>=1000", f"pytest>=1000 (this has {PYTEST})"),
        ("pytest=1.0", f"pytest==1.0.* (this has {PYTEST})"),
        ("python=2.7", f"python 2.7 (this is {HERE})"),
        ("python>=4", f"python >=4 (this is {HERE})"),
        ("python<3", f"python <3 (this is {HERE})"),
        ("python=three", "python 'three' is no version"),
        ("conda-forge::pytest", "'conda-forge::pytest' (not understood)"),
    ],
)
def test_a_conda_entry_that_is_not_here_is_named(tmp_path, entry, phrase):
    assert unmet(tmp_path, f"dependencies:\n  - '{entry}'\n") == [phrase]


@pytest.mark.parametrize(
    ("line", "phrases"),
    [
        ("pytest", []),
        ("PyTest >= 1  # the tests", []),
        ("# only a remark", []),
        ("--prefer-binary", []),
        ("-c constraints.txt", []),
        ("no-such-package; python_version < '3'", []),
        ("no-such-package; python_version > '3'", ["no-such-package is not installed"]),
        ("no-such-package[extra]==1", ["no-such-package is not installed"]),
        ("pytest<1", [f"pytest<1 (this has {PYTEST})"]),
        ("pytest @@ 1", ["'pytest @@ 1' (not understood)"]),
        ("-r more.txt", ["no-such-package is not installed"]),
        ("--requirement more.txt", ["no-such-package is not installed"]),
    ],
)
def test_pip_lines_are_read_as_pip_reads_them(tmp_path, line, phrases):
    (tmp_path / "more.txt").write_text("pytest\n\nno-such-package\n")
    assert unmet(tmp_path, f'dependencies:\n  - pip:\n    - "{line}"\n') == phrases


def test_requirements_that_are_missing_are_named(tmp_path):
    assert unmet(tmp_path, "dependencies:\n  - pip:\n    - -r gone.txt\n") == [f"{tmp_path / 'gone.txt'} is missing"]


def test_a_source_folder_is_met_only_when_a_package_was_installed_from_it(tmp_path):
    (tmp_path / "mine").mkdir()
    phrases = unmet(tmp_path, "dependencies:\n  - pip:\n    - ./mine\n    - .[extra]\n")
    assert phrases == [
        f"the package in {tmp_path / 'mine'} is not installed",
        f"the package in {tmp_path} is not installed",
    ]


def test_a_python_env_file_is_read_too(tmp_path):
    text = f"python: '{HERE}'\nbuild_dependencies:\n  - pip\ndependencies:\n  - pytest\n  - no-such-package>=2\n"
    assert unmet(tmp_path, text, "python_env.yaml") == ["no-such-package is not installed"]
    assert unmet(tmp_path, "python: 2.7\n", "python_env.yaml") == [f"python 2.7 (this is {HERE})"]


@pytest.mark.parametrize("text", ["", "dependencies:\n", "name: x\ndependencies:\n  - pip:\n"])
def test_a_file_that_asks_for_nothing_is_met(tmp_path, text):
    assert unmet(tmp_path, text) == []


@pytest.mark.parametrize("text", ["dependencies: [", "- a list", "just text", "dependencies: 7"])
def test_a_file_that_is_no_environment_is_named(tmp_path, text):
    with pytest.raises(PhaseError) as error:
        unmet(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'conda.yaml'}: cannot be read")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PhaseError, match=r"gone.yaml: cannot be read"):
        unmet_requirements(tmp_path / "gone.yaml")


# --- choosing ---


@pytest.fixture
def lacking(tmp_path: Path) -> Path:
    file = tmp_path / "conda.yaml"
    file.write_text("dependencies:\n  - no-such-package\n")
    return file


def machine_with(monkeypatch, *programs: str) -> None:
    monkeypatch.delenv("MLFLOW_CONDA_HOME", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name in programs else None)


@pytest.mark.parametrize("named", ["local", "conda", "uv", "virtualenv"])
def test_a_manager_that_the_caller_named_is_taken_as_it_is(lacking, named):
    assert choose_env_manager(project(lacking), named) == named


def test_this_environment_is_used_when_it_satisfies_the_project(tmp_path, monkeypatch):
    machine_with(monkeypatch, "conda", "uv")
    (tmp_path / "conda.yaml").write_text("dependencies:\n  - pytest\n")
    assert choose_env_manager(project(tmp_path / "conda.yaml"), None) == "local"


def test_a_project_without_an_environment_file_or_in_a_container_runs_here(lacking):
    assert choose_env_manager(project(None), None) == "local"
    assert choose_env_manager(project(lacking, env_type.DOCKER), None) == "local"


@pytest.mark.parametrize(
    ("programs", "kind", "manager"),
    [
        (("conda", "uv"), env_type.CONDA, "conda"),
        (("conda",), env_type.CONDA, "conda"),
        (("uv",), env_type.CONDA, "uv"),
        (("conda", "uv"), env_type.PYTHON, "uv"),
    ],
)
def test_else_conda_is_used_where_the_project_is_made_for_it_else_uv(lacking, monkeypatch, programs, kind, manager):
    machine_with(monkeypatch, *programs)
    assert choose_env_manager(project(lacking, kind), None) == manager


def test_a_conda_that_only_mlflow_knows_of_counts(lacking, monkeypatch):
    machine_with(monkeypatch)
    monkeypatch.setenv("MLFLOW_CONDA_HOME", "/opt/conda")
    assert choose_env_manager(project(lacking), None) == "conda"


def test_with_neither_the_error_says_what_is_missing_and_what_to_do(lacking, monkeypatch):
    machine_with(monkeypatch)
    with pytest.raises(PhaseError) as error:
        choose_env_manager(project(lacking), None)
    message = str(error.value)
    assert message.startswith(f"{lacking}: this environment ({sys.prefix}) does not satisfy it: no-such-package is not")
    assert "install conda or uv" in message
    assert "--env-manager" in message
