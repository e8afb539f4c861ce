"""Code of the user that lies outside the project's folder counts in the code digest, installed packages never do."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import mlflow_plugin
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.code import CodeDigest, code_digest
from mlflow_plugin.project.import_roots import layout_roots
from mlflow_plugin.project.own_code import Root

COMMAND = "python train.py"


class Machine:
    """A machine with one project, and folders beside it, in a folder of its own."""

    def __init__(self, folder: Path, project: str = "repo/projects/one") -> None:
        self.folder = folder
        self.project = folder / project
        self.project.mkdir(parents=True)

    def put(self, name: str, text: str = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write(self, **files: str) -> None:
        """Write files of the project; `train="..."` is train.py."""
        for name, text in files.items():
            (self.project / f"{name}.py").write_text(text)

    def code(self, command: str = COMMAND, code: list[str] | None = None) -> CodeDigest:
        return code_digest(self.project, command, code)

    def names(self, command: str = COMMAND, code: list[str] | None = None) -> set[str]:
        return set(self.code(command, code).files)


pytestmark = pytest.mark.usefixtures("nothing_installed")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "machine")


@pytest.fixture
def repository(machine):
    """Return a machine whose project is one of several in a git repository, with a folder `common` beside it."""
    (machine.folder / "repo/.git").mkdir()
    machine.put("repo/projects/common/maths.py", "X = 1")
    machine.put("repo/projects/two/unrelated.py", "X = 1")
    machine.write(train="import maths")
    return machine


def assert_followed(machine: Machine, name: str, shared: Path, command: str = COMMAND) -> None:
    """Assert that a shared file counts under its name: a comment in it changes nothing, an edit does."""
    before = machine.code(command)
    assert set(before.files) == {"train.py", name}
    shared.write_text(f"# a comment\n{shared.read_text()}")
    assert machine.code(command) == before
    shared.write_text(f"{shared.read_text()}\nY = 2")
    assert machine.code(command).digest != before.digest


# --- where code is imported from ---


def test_pythonpath_of_the_environment_is_followed(machine, monkeypatch):
    shared = machine.put("shared/tools/maths.py", "X = 1")
    machine.put("shared/tools/unused.py")
    machine.put("shared/tools/__init__.py")
    machine.write(train="from tools import maths")
    assert machine.names() == {"train.py"}
    monkeypatch.setenv("PYTHONPATH", str(machine.folder / "shared"))
    assert machine.names() == {"train.py", "tools/__init__.py", "tools/maths.py"}
    before = machine.code().digest
    shared.write_text("X = 2")
    assert machine.code().digest != before


@pytest.mark.parametrize(
    "command",
    [
        "PYTHONPATH=../common python train.py",
        'PYTHONPATH="../common:$PYTHONPATH" python train.py',
        "export PYTHONPATH=$PWD/../common && python train.py",
        "PYTHONPATH=../common python -m train",
        "PYTHONPATH=../common python -c 'import train'",
    ],
)
def test_pythonpath_of_the_command_is_followed(repository, command):
    shared = repository.folder / "repo/projects/common/maths.py"
    assert_followed(repository, "../common/maths.py", shared, command)


@pytest.mark.parametrize(
    "lines",
    [
        "import sys, os\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'common'))",
        "import sys\nfrom pathlib import Path\nHERE = Path(__file__).resolve().parent\n"
        "sys.path.append(str(HERE / '../common'))",
        "import sys\nfrom pathlib import Path\nsys.path.insert(0, str(Path(__file__).parents[1] / 'common'))",
        "import sys\nsys.path.append('../common')",
        "import sys, os\nsys.path += [os.path.dirname(os.path.abspath(__file__)) + '/../common']",
    ],
)
def test_folders_that_a_script_puts_on_its_path_are_followed(repository, lines):
    repository.write(train=f"{lines}\nimport maths")
    assert_followed(repository, "../common/maths.py", repository.folder / "repo/projects/common/maths.py")


def test_a_folder_put_on_the_path_by_a_helper_counts_for_imports_before_it(repository):
    repository.write(train="import maths\nimport setup_path", setup_path="import sys\nsys.path.insert(0, '../common')")
    assert repository.names() == {"train.py", "setup_path.py", "../common/maths.py"}


def test_a_folder_put_on_the_path_without_a_repository_is_named_by_package(machine):
    machine.put("elsewhere/pkg/__init__.py", "from . import inner")
    machine.put("elsewhere/pkg/inner.py")
    machine.write(train=f"import sys\nsys.path.append({str(machine.folder / 'elsewhere')!r})\nimport pkg")
    assert machine.names() == {"train.py", "pkg/__init__.py", "pkg/inner.py"}


def install(machine: Machine, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str]) -> Path:
    """Fill the site-packages of the interpreter and return that folder."""
    site = machine.folder / "env/lib/python3/site-packages"
    site.mkdir(parents=True)
    for name, text in files.items():
        machine.put(str(site / name), text)
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    return site


def editable(folder: Path) -> str:
    return json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})


@pytest.fixture
def package(machine):
    """Return the folder of a package's sources with the package `shared` in `src`."""
    machine.put("home/shared-1/src/shared/__init__.py")
    machine.put("home/shared-1/src/shared/maths.py", "X = 1")
    machine.write(train="import shared.maths, numpy")
    return machine.folder / "home/shared-1"


SHARED = {"train.py", "shared/__init__.py", "shared/maths.py"}


@pytest.mark.parametrize("way", ["pth", "finder", "direct_url", "namespace"])
def test_editable_installs_are_followed(machine, package, monkeypatch, way):
    assert machine.names() == {"train.py"}
    source = package / "src"
    if way == "namespace":
        (source / "shared/__init__.py").unlink()
    files = {
        "pth": {"__editable__.shared-1.pth": f"# by an installer\n{source}\n"},
        "finder": {
            "__editable___shared_1_finder.py": "import sys\n"
            f"MAPPING: dict[str, str] = { ({'shared': str(source / 'shared')}) }\n"
            "NAMESPACES: dict[str, list[str]] = {}\n"
        },
        "namespace": {"__editable___shared_1_finder.py": f"NAMESPACES = { ({'shared': [str(source / 'shared')]}) }\n"},
        "direct_url": {"shared-1.dist-info/direct_url.json": editable(package)},
    }
    install(machine, monkeypatch, files[way])
    expected = SHARED - {"shared/__init__.py"} if way == "namespace" else SHARED
    before = machine.code()
    assert set(before.files) == expected
    (source / "shared/maths.py").write_text("X = 2")
    assert machine.code().digest != before.digest


def test_a_finder_may_map_modules_and_dotted_names(machine, monkeypatch):
    machine.put("home/lib/inner.py")
    machine.put("home/lib/__init__.py", "from . import inner")
    machine.put("home/single.py")
    mapping = {"space.pkg": str(machine.folder / "home/lib"), "single": str(machine.folder / "home/single")}
    install(machine, monkeypatch, {"__editable___x_finder.py": f"MAPPING = {mapping}\n"})
    machine.write(train="import single\nfrom space import pkg")
    assert machine.names() == {"train.py", "single.py", "space/pkg/__init__.py", "space/pkg/inner.py"}


def test_of_an_editable_package_only_what_it_installs_counts(machine, package, monkeypatch):
    (package / "setup_helper.py").write_text("")
    finder = f"MAPPING = { ({'shared': str(package / 'src/shared')}) }\n"
    origin = {"shared-1.dist-info/direct_url.json": editable(package)}
    install(machine, monkeypatch, {"__editable___shared_1_finder.py": finder, **origin})
    machine.write(train="import shared.maths, setup_helper")
    assert machine.names() == SHARED


def test_an_editable_install_that_appears_while_the_process_lives_is_seen(machine, package, monkeypatch):
    site = install(machine, monkeypatch, {})
    assert machine.names() == {"train.py"}
    machine.put(str(site / "shared-1.dist-info/direct_url.json"), editable(package))
    os.utime(site, (1, 1))
    assert machine.names() == SHARED


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("conda.yaml", "dependencies:\n- python=3.11\n- pip:\n  - numpy\n  - -e ../../../home/shared-1\n"),
        ("conda.yaml", "dependencies: [{pip: ['../../../home/shared-1[extra]']}]\n"),
        ("python_env.yaml", "dependencies: ['-e ../../../home/shared-1']\n"),
        ("named.yaml", "dependencies: ['--editable=../../../home/shared-1  # ours']\n"),
        ("conda.yaml", "dependencies: [{pip: [-r requirements.txt]}]\n"),
    ],
)
def test_packages_that_the_environment_file_names_by_a_path_are_followed(machine, package, file, text):
    (machine.project / "MLproject").write_text("conda_env: named.yaml" if file == "named.yaml" else "name: one")
    (machine.project / "requirements.txt").write_text("-r requirements.txt\n-e ../../../home/shared-1\nnumpy\n")
    assert machine.names() == {"train.py"}
    (machine.project / file).write_text(text)
    before = machine.code()
    assert set(before.files) == SHARED
    (package / "src/shared/maths.py").write_text("X = 2")
    assert machine.code().digest != before.digest


@pytest.mark.parametrize(
    "text", ["", "dependencies: 5", "a: [", "dependencies: [{pip: 5}, 5]", "dependencies: [-e, -r missing, ./no]", "\0"]
)
def test_an_environment_file_that_says_nothing_of_use_is_passed_over(machine, text):
    machine.write(train="import numpy")
    (machine.project / "conda.yaml").write_text(text)
    assert machine.names() == {"train.py"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pyproject.toml", '[tool.setuptools.package-dir]\ncommon = "."\n'),
        ("setup.cfg", "[options]\npackage_dir =\n    common = .\n"),
    ],
)
def test_a_package_whose_folder_is_the_package_itself_is_read_from_its_layout(repository, file, text):
    repository.put(f"repo/projects/common/{file}", text)
    (repository.project / "conda.yaml").write_text("dependencies: [{pip: [../common]}]")
    repository.write(train="import common.maths")
    assert repository.names() == {"train.py", "../common/maths.py"}


def test_the_layout_of_a_package_is_read_as_setuptools_reads_it(tmp_path):
    (tmp_path / "lib").mkdir()
    assert layout_roots(str(tmp_path)) == [Root(str(tmp_path))]
    (tmp_path / "pyproject.toml").write_text("[tool.setuptools.packages.find]\nwhere = ['lib']")
    assert layout_roots(str(tmp_path)) == [Root(str(tmp_path / "lib")), Root(str(tmp_path))]
    (tmp_path / "pyproject.toml").write_text("not TOML")
    (tmp_path / "setup.cfg").write_text("not INI")
    assert layout_roots(str(tmp_path)) == [Root(str(tmp_path))]


def test_a_namespace_package_in_the_project_and_outside_is_followed_in_both(machine, monkeypatch):
    (machine.project / "space").mkdir()
    (machine.project / "space/near.py").write_text("")
    machine.put("shared/space/far.py")
    monkeypatch.setenv("PYTHONPATH", str(machine.folder / "shared"))
    machine.write(train="import space.near\nfrom space import far")
    assert machine.names() == {"train.py", "space/near.py", "space/far.py"}


# --- files that a command names ---


def test_files_of_the_repository_that_a_command_names_count(repository):
    repository.put("repo/tools/run.py", "import near")
    repository.put("repo/tools/near.py")
    repository.put("repo/settings.yaml", "a: 1")
    repository.put("outside.py")
    names = repository.names("python ../../tools/run.py --config=../../settings.yaml --other ../../../outside.py")
    assert names == {"../../tools/run.py", "../../tools/near.py", "../../settings.yaml"}
    assert repository.names("cd ../../tools && python run.py") == {"../../tools/run.py", "../../tools/near.py"}


def test_modules_run_from_the_repository_folder_count(repository):
    repository.write(train="from ..common import maths")
    assert repository.names("cd ../.. && python -m projects.one.train") == {"train.py", "../common/maths.py"}


def test_relative_imports_reach_shared_code_of_the_repository_alone(machine):
    machine.put("repo/projects/common/maths.py")
    machine.write(train="from ..common import maths")
    assert machine.names() == {"train.py"}
    (machine.folder / "repo/.git").mkdir()
    assert machine.names() == {"train.py", "../common/maths.py"}


# --- what never counts ---


def test_installed_packages_never_count(machine, monkeypatch):
    site = install(machine, monkeypatch, {"numpy/__init__.py": "", "six.py": "", "space/portion.py": ""})
    dist = machine.put("usr/lib/python3/dist-packages/yaml/__init__.py").parents[1]
    machine.put(str(site / "numpy-1.dist-info/METADATA"))
    machine.put(str(site / "extra.pth"), f"{dist}\nnumpy\nimport os\n\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(dist), os.path.dirname(os.__file__), ""]))
    machine.write(train="import numpy, six, space.portion, yaml, os, this, json.decoder")
    assert machine.names(f"PYTHONPATH={site}:{dist} python train.py") == {"train.py"}


def test_an_environment_inside_the_repository_never_counts(repository, monkeypatch):
    package = repository.put("repo/.venv/lib/python3/site-packages/maths.py")
    repository.put("repo/venv/maths.py")
    monkeypatch.setattr(sys, "path", [*sys.path, str(package.parent)])
    command = "PYTHONPATH=../../.venv/lib/python3/site-packages python train.py ../../venv/maths.py"
    assert repository.names(command) == {"train.py"}


def test_an_ordinary_installed_package_hides_an_editable_one_of_its_name(machine, package, monkeypatch):
    install(machine, monkeypatch, {"shared/__init__.py": "", "other.pth": f"{package / 'src'}\n"})
    assert machine.names() == {"train.py"}


@pytest.mark.parametrize("way", ["import", "command", "inside", "copy"])
def test_this_package_never_counts(machine, monkeypatch, way):
    folder = Path(mlflow_plugin.__file__).parent
    machine.write(train="import mlflow_plugin.project.code\nimport errors" if way in ("import", "inside") else "")
    copy = machine.put("other/mlflow_plugin/errors.py")
    root, named = {
        "import": (folder.parent, ""),
        "command": (folder.parent, folder / "errors.py"),
        "inside": (folder, folder / "errors.py"),
        "copy": (copy.parents[1], copy),
    }[way]
    monkeypatch.setenv("PYTHONPATH", str(root))
    assert machine.names(f"python train.py {named}") == {"train.py"}


def test_this_package_does_not_count_in_a_listed_folder_outside_the_project(repository):
    repository.put("repo/lib/x.py")
    (repository.folder / "repo/lib/linked").symlink_to(Path(mlflow_plugin.__file__).parent)
    assert repository.names(code=["../../lib"]) == {"../../lib/x.py"}


def test_a_sibling_project_does_not_count(repository):
    command = "PYTHONPATH=../common python train.py"
    before = repository.code(command)
    repository.put("repo/projects/two/unrelated.py", "X = 2")
    repository.put("repo/projects/common/unused.py", "X = 2")
    assert repository.code(command) == before


def test_files_that_change_with_every_run_do_not_count_outside_the_project_either(repository):
    for name in ("EXPERIMENT_LOG.md", "mlflow.db", ".hidden", "mlruns/0/meta.yaml"):
        repository.put(f"repo/{name}")
    command = "python train.py ../../EXPERIMENT_LOG.md ../../mlflow.db ../../.hidden ../../mlruns/0/meta.yaml"
    assert repository.names(command) == {"train.py"}


@pytest.mark.parametrize("way", ["sys.path", "PYTHONPATH", "editable", "environment file"])
def test_folders_inside_the_project_that_python_imports_from_are_followed(machine, monkeypatch, way):
    helper = machine.put("repo/projects/one/lib/deep/helper.py", "X = 1")
    machine.write(train="import helper")
    assert machine.names() == {"train.py"}
    if way == "sys.path":
        machine.write(train="import sys\nsys.path.append('lib/deep')\nimport helper")
    elif way == "PYTHONPATH":
        monkeypatch.setenv("PYTHONPATH", f"lib/deep{os.pathsep}{machine.project}")
    elif way == "editable":
        install(machine, monkeypatch, {"own.pth": f"{machine.project}/lib/deep"})
    else:
        (machine.project / "conda.yaml").write_text("dependencies: [{pip: [-e ./lib/deep]}]")
    assert_followed(machine, "lib/deep/helper.py", helper)


def test_an_environment_inside_the_project_never_counts(machine, monkeypatch):
    machine.put("repo/projects/one/.venv/lib/helper.py")
    machine.put("repo/projects/one/venv/helper.py")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(f"{machine.project}/{name}" for name in (".venv/lib", "venv")))
    machine.write(train="import helper")
    assert machine.names() == {"train.py"}


def test_the_digest_of_code_inside_the_project_is_that_of_the_first_version(machine):
    machine.write(train="import helper\nimport os, numpy\n", helper="X = 1\n")
    (machine.project / "data.csv").write_text("1\n")
    code = machine.code("python train.py data.csv")
    assert code.digest == "c9c520869fbecf2ba5b4677cef3e8d4ef2a62e7531502df61cffbe0ca18c7186"
    assert code.elsewhere == {}


# --- names ---


@pytest.mark.parametrize("git", ["folder", "file"])
def test_two_checkouts_have_the_same_digest(tmp_path, git):
    digests = []
    for place in ("home/anna", "data/deep/er"):
        machine = Machine(tmp_path / place)
        if git == "folder":
            (machine.folder / "repo/.git").mkdir()
        else:  # as in a worktree
            machine.put("repo/.git", "gitdir: /elsewhere/.git/worktrees/repo\n")
        machine.put("repo/projects/common/maths.py", "X = 1")
        machine.write(train="import maths")
        digests.append(machine.code("PYTHONPATH=../common python train.py"))
    assert digests[0] == digests[1]
    assert set(digests[0].files) == {"train.py", "../common/maths.py"}


def test_code_outside_any_repository_has_the_same_digest_in_another_folder(tmp_path, monkeypatch):
    digests = []
    for place in ("home/anna", "data/deep/er"):
        machine = Machine(tmp_path / place)
        machine.put("my/tools/pkg/__init__.py")
        machine.put("my/tools/pkg/maths.py", "X = 1")
        machine.write(train="from pkg import maths")
        monkeypatch.setenv("PYTHONPATH", str(machine.folder / "my/tools"))
        digests.append(machine.code())
        assert digests[-1].elsewhere["pkg/maths.py"] == machine.folder / "my/tools/pkg/maths.py"
    assert digests[0].digest == digests[1].digest
    assert set(digests[0].files) == {"train.py", "pkg/__init__.py", "pkg/maths.py"}


def test_two_files_of_one_name_both_count(machine, monkeypatch):
    machine.write(train="import helper, sys", helper="X = 1")
    shared = machine.put("shared/helper.py", "X = 2")
    monkeypatch.setenv("PYTHONPATH", str(machine.folder / "shared"))
    (machine.project / "sub").mkdir()
    (machine.project / "sub/run.py").write_text("import helper")
    code = machine.code("python sub/run.py")
    assert set(code.files) == {"sub/run.py", "helper.py", "helper.py (2)"}
    assert code.elsewhere == {"helper.py (2)": shared}


def test_a_shared_folder_that_is_a_link_counts(repository):
    (repository.folder / "repo/projects/common").rename(repository.folder / "repo/common")
    (repository.folder / "repo/projects/linked").symlink_to(repository.folder / "repo/common")
    shared = repository.folder / "repo/common/maths.py"
    assert_followed(repository, "../linked/maths.py", shared, "PYTHONPATH=../linked python train.py")


def test_a_link_in_the_project_to_a_folder_elsewhere_counts_under_its_name_in_the_project(machine, monkeypatch):
    machine.put("shared/maths.py")
    (machine.project / "linked").symlink_to(machine.folder / "shared")
    machine.write(train="import maths")
    monkeypatch.setenv("PYTHONPATH", "linked")
    assert machine.names() == {"train.py", "linked/maths.py"}


def test_a_link_from_elsewhere_into_the_repository_has_the_name_in_the_repository(repository, monkeypatch):
    (repository.folder / "link").symlink_to(repository.folder / "repo/projects/common")
    monkeypatch.setenv("PYTHONPATH", str(repository.folder / "link"))
    assert repository.names() == {"train.py", "../common/maths.py"}


def test_a_project_reached_through_a_link_has_the_same_names(repository):
    (repository.folder / "link").symlink_to(repository.folder / "repo")
    command = "PYTHONPATH=../common python train.py"
    linked = code_digest(repository.folder / "link/projects/one", command, None)
    assert linked.files == repository.code(command).files


def test_the_project_reached_by_another_way_keeps_its_names(repository):
    (repository.folder / "link").symlink_to(repository.folder / "repo")
    repository.write(train="")
    project = repository.folder / "link/projects/one"
    for command in (f"python {repository.project}/train.py", "cd ../.. && cd projects/one && python train.py"):
        assert set(code_digest(project, command, None).files) == {"train.py"}


# --- what can go wrong ---


def test_modules_that_import_each_other_across_the_border_end(repository):
    repository.put("repo/projects/common/maths.py", "import helper, train, maths")
    repository.write(helper="import maths")
    assert repository.names("PYTHONPATH=../common python train.py") == {"train.py", "helper.py", "../common/maths.py"}


def test_a_shared_folder_that_holds_itself_ends(repository):
    (repository.folder / "repo/projects/common/again").symlink_to(repository.folder / "repo/projects/common")
    repository.write(train="import again.again.maths")
    assert repository.names("PYTHONPATH=../common python train.py") == {"train.py", "../common/again/again/maths.py"}
    assert repository.names(code=["../common"]) == {"../common/maths.py"}


def test_a_shared_module_that_cannot_be_read_is_named(repository):
    (repository.folder / "repo/projects/common/broken.py").symlink_to("nowhere")
    repository.write(train="import broken")
    with pytest.raises(PhaseError, match=r"common/broken\.py cannot be read"):
        repository.code("PYTHONPATH=../common python train.py")


@pytest.mark.parametrize(
    "text",
    [
        "MAPPING = {'a': __import__('os')}",
        "MAPPING = {1: 2, 'a': '\\0'}",
        "MAPPING = {'a':",
        "\0",
        "NAMESPACES = {'a': ['b']}",
    ],
)
def test_a_damaged_install_is_passed_over(machine, monkeypatch, text):
    files = {"__editable___x_finder.py": text, "x.dist-info/direct_url.json": text, "x.pth": text}
    files["y.dist-info/direct_url.json"] = '{"url": 5, "dir_info": {"editable": true}}'
    install(machine, monkeypatch, files)
    machine.write(train="import a, b.c, numpy")
    assert machine.names() == {"train.py"}


# --- `code` ---


def test_code_may_list_paths_of_the_repository(repository):
    repository.put("repo/projects/common/data/notes.txt")
    repository.put("repo/projects/common/__pycache__/maths.pyc")
    assert repository.names(code=["train.py", "../common"]) == {
        "train.py",
        "../common/maths.py",
        "../common/data/notes.txt",
    }
    absolute = str(repository.folder / "repo/projects/common/maths.py")
    assert repository.names(code=[absolute]) == {"../common/maths.py"}


def test_code_may_list_relative_paths_where_there_is_no_repository(machine):
    machine.put("repo/projects/common/maths.py")
    assert machine.names(code=["../common"]) == {"../common/maths.py"}


def test_listed_shared_code_has_the_same_names_through_a_link(repository):
    (repository.folder / "link").symlink_to(repository.folder / "repo")
    linked = code_digest(repository.folder / "link/projects/one", COMMAND, ["../common", "train.py"])
    assert linked.digest == repository.code(code=["../common", "train.py"]).digest
    assert set(linked.files) == {"../common/maths.py", "train.py"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("../missing", "no such file or folder"),
        ("../../../beside", "outside"),
        ("/etc", "outside"),
        ("../../../beside\0", "outside"),
    ],
)
def test_a_listed_path_that_cannot_count_is_refused(repository, entry, message):
    repository.put("beside/x.py")
    with pytest.raises(PhaseError, match=message) as caught:
        repository.code(code=[entry])
    assert repr(entry) in str(caught.value)
