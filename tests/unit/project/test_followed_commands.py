"""A command leads to the code behind it: rendered names, shell idioms, launchers, modules loaded by a call."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlflow_plugin.project.code import CodeDigest, code_digest
from mlflow_plugin.project.command import rendered, simple_commands
from mlflow_plugin.project.launchers import program_place


class Folder:
    def __init__(self, path: Path):
        self.path = path

    def put(self, name: str, text: str = "", *, executable: bool = False) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if executable else 0o644)
        return file

    def code(self, command: str, values: Mapping[str, str] | None = None) -> CodeDigest:
        return code_digest(self.path, command, None, values)

    def files(self, command: str, values: Mapping[str, str] | None = None) -> set[str]:
        return set(self.code(command, values).files)


@pytest.fixture
def project(tmp_path, nothing_installed):
    (tmp_path / "project").mkdir()
    return Folder(tmp_path / "project")


# --- parameters in the names of files ---


@pytest.mark.parametrize(
    ("command", "reached"),
    [
        ("python models/{model}.py", {"models/resnet.py", "layers.py"}),
        ("python -m models.{model}", {"models/resnet.py", "layers.py"}),
        ("python {script}", {"models/resnet.py", "layers.py"}),
        ("python '{script}' --seed 1", {"models/resnet.py", "layers.py"}),
        ("cd {folder} && python resnet.py", {"models/resnet.py", "layers.py"}),
        ("sh -c 'python models/{model}.py'", {"models/resnet.py", "layers.py"}),
        ("PYTHONPATH={folder} python -m resnet", {"models/resnet.py", "layers.py"}),
        ("python models/{unknown}.py", set()),
        ("python models/{phase1_run_id}.py", set()),
    ],
)
def test_a_parameter_in_the_name_of_a_program_selects_it(project, command, reached):
    project.put("models/resnet.py", "import layers")
    project.put("models/vgg.py")
    project.put("layers.py")
    values = {"model": "resnet", "script": "models/resnet.py", "folder": "models"}
    assert project.files(command, values) == reached


@pytest.mark.parametrize("command", ["python t.py {config}.yaml", "python t.py --config=conf/{name}/x.yaml"])
def test_a_parameter_in_the_name_of_another_file_selects_it(project, command):
    project.put("t.py")
    small, large = (project.put(name, "a: 1") for name in ("small.yaml", "conf/large/x.yaml"))
    values = {"config": "small", "name": "large"}
    before = project.code(command, values).named.digests
    assert len(before) == 1
    for file in (small, large):
        file.write_text("a: 2")
    assert project.code(command, values).named.digests != before
    assert not project.code(command, {"config": "none", "name": "none"}).named.digests


def test_the_value_of_a_data_parameter_is_not_counted_as_code(project):
    project.put("t.py")
    project.put("rows.csv")
    code = project.code("python t.py {data} --data={data}", {"data": "rows.csv"})
    assert set(code.files) == {"t.py"}
    assert not code.named.digests


@pytest.mark.parametrize(
    ("word", "text"), [("{a}.py", "1.py"), ("{{a}}", "{a}"), ("{{{a}}}", "{1}"), ("{b}", None), ("x", "x")]
)
def test_a_word_is_rendered_as_mlflow_renders_it(word, text):
    assert rendered(word, {"a": "1"}) == text


# --- the shell ---


@pytest.mark.parametrize(
    "command",
    [
        'python "$PWD/t.py"',
        "python ${{PWD}}/t.py",
        "python $(pwd)/t.py",
        "python `pwd`/t.py",
        "python $(dirname $0)/t.py",
        "HERE=$PWD && python $HERE/t.py",
        "export HERE=$(pwd); python ${{HERE}}/t.py",
        "python file://$PWD/t.py",
        "if true; then python t.py; fi",
        "bash sub/run.sh",
        "./sub/run",
        "sub/run_python",
        "nice -n 5 ./sub/run",
    ],
)
def test_the_shells_ways_to_name_a_script_are_understood(project, command):
    project.put("t.py", "import helper")
    project.put("helper.py")
    idiom = 'DIR="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"\npython "$DIR/../t.py" "$@"\n'
    project.put("sub/run.sh", idiom)
    project.put("sub/run", f"#!/usr/bin/env bash\n{idiom}", executable=True)
    project.put("sub/run_python", "#!/usr/bin/env python3\nimport sys\nsys.path.append('.')\nimport t", executable=True)
    assert {"t.py", "helper.py"} <= project.files(command)


def test_a_python_script_without_suffix_counts_by_its_syntax(project):
    script = project.put("train", "#!/usr/bin/python3\nimport helper\n", executable=True)
    project.put("helper.py")
    before = project.code("./train")
    assert set(before.files) == {"train", "helper.py"}
    script.write_text("#!/usr/bin/python3\n# a comment\nimport helper\n")
    assert project.code("./train") == before
    script.write_text("#!/usr/bin/python3\nimport helper\nX = 1\n")
    assert project.code("./train").programs != before.programs


def test_variables_of_the_environment_are_replaced(project, monkeypatch):
    project.put("t.py")
    monkeypatch.setenv("SCRIPTS", str(project.path))
    assert project.files("python $SCRIPTS/t.py $NOWHERE/t.py") == {"t.py"}


def test_a_script_that_calls_itself_ends(project):
    project.put("run.sh", "bash run.sh; make all")
    project.put("Makefile", "all:\n\tmake all && sh run.sh\n")
    assert project.files("make all") == {"run.sh", "Makefile"}


@pytest.mark.parametrize("again", ["make all", "make -C . all", "make all X=$(X)a", "sh -c 'make all' --x"])
def test_makefiles_that_call_themselves_again_and_again_end(project, again):
    project.put("t.py")
    project.put("Makefile", "all:\n" + f"\t{again}\n\t{again} -k\n" + "\tpython t.py\n")
    assert project.files("make && make -k && python t.py") == {"Makefile", "t.py"}


def test_lines_of_a_script_are_commands_of_their_own():
    commands = simple_commands("a one > out \\\n two\nb 2>&1 | c < three # no comment\n", None, "/here", "/here")
    assert [[word.text for word in words] for words in commands][:2] == [["a", "one", "two"], ["b", "2"]]


@pytest.mark.parametrize(
    ("words", "place"),
    [("make", 0), ("A=1 B=2 make", 2), ("time uv run -q make", 4), ("timeout 5 make", 2), ("A=1", 1), ("", 0)],
)
def test_the_program_is_found_behind_assignments_and_wrappers(words, place):
    assert program_place(words.split()) == place


# --- launchers ---

MAKEFILE = """\
PYTHON ?= python
SCRIPT := steps/train.py
.PHONY: all
all: report
report: train
\t@$(PYTHON) report.py
train: rows.csv
\t-$(PYTHON) $(SCRIPT) $<
other:
\tpython other.py
"""


@pytest.mark.parametrize(
    ("command", "reached"),
    [
        ("make", {"Makefile", "report.py", "steps/train.py"}),
        ("make train", {"Makefile", "steps/train.py"}),
        ("make -j 4 other", {"Makefile", "other.py"}),
        ("make train SCRIPT=other.py", {"Makefile", "other.py"}),
        ("make nothing", {"Makefile"}),
        ("make -C steps", {"steps/Makefile", "steps/train.py"}),
        ("env A=1 make other", {"Makefile", "other.py"}),
    ],
)
def test_make_leads_to_the_recipes_of_a_target_and_of_its_prerequisites(project, command, reached):
    project.put("Makefile", MAKEFILE)
    project.put("steps/Makefile", "all: ; python train.py\n")
    for name in ("report.py", "steps/train.py", "other.py", "rows.csv"):
        project.put(name)
    assert project.files(command) == reached


def test_a_prerequisite_of_a_make_target_is_data(project):
    project.put("Makefile", MAKEFILE)
    rows = project.put("rows.csv", "1")
    before = project.code("make train").named.digests
    assert "rows.csv" in before
    rows.write_text("2")
    assert project.code("make train").named.digests != before


@pytest.mark.parametrize(
    ("command", "reached"),
    [
        ("pytest", {"tests/test_a.py", "tests/conftest.py", "model.py", "conftest.py", "tests/deep/b_test.py"}),
        ("pytest .", {"tests/test_a.py", "tests/conftest.py", "model.py", "conftest.py", "tests/deep/b_test.py"}),
        ("pytest / ..", {"tests/test_a.py", "tests/conftest.py", "model.py", "conftest.py", "tests/deep/b_test.py"}),
        ("python -m pytest tests/deep -q", {"tests/conftest.py", "conftest.py", "tests/deep/b_test.py"}),
        ("pytest tests/test_a.py::test_it", {"tests/test_a.py", "tests/conftest.py", "model.py", "conftest.py"}),
    ],
)
def test_pytest_leads_to_the_tests_in_a_folder(project, command, reached):
    project.put("tests/test_a.py", "import model")
    for name in ("tests/conftest.py", "conftest.py", "tests/deep/b_test.py", "model.py", "tests/unused.py"):
        project.put(name)
    assert project.files(command) == reached


def test_dvc_leads_to_the_commands_and_dependencies_of_its_stages(project):
    project.put(
        "dvc.yaml",
        "stages:\n  a:\n    cmd: python a.py\n    deps: [raw.csv]\n    outs: [rows.csv]\n"
        "  b:\n    cmd: [python b.py rows.csv, python c.py]\n    deps: [rows.csv]\n",
    )
    for name in ("a.py", "b.py", "c.py", "raw.csv", "params.yaml"):
        project.put(name)
    code = project.code("dvc repro")
    assert set(code.files) == {"dvc.yaml", "a.py", "b.py", "c.py"}
    assert set(code.named.digests) == {"raw.csv", "params.yaml"}


@pytest.mark.parametrize("text", ["", "stages: [", "stages: {a: 1, b: {cmd: 3, deps: 4, outs: 5}}", "[1]"])
def test_a_damaged_dvc_file_is_passed_over(project, text):
    project.put("dvc.yaml", text)
    assert project.files("dvc repro") == {"dvc.yaml"}


def test_kedro_leads_to_its_package_and_settings(project):
    project.put("pyproject.toml", '[tool.kedro]\npackage_name = "shop"\n')
    project.put("src/shop/pipeline.py")
    project.put("src/shop/nodes.py")
    project.put("conf/base/catalog.yml")
    code = project.code("kedro run")
    assert set(code.files) == {"src/shop/pipeline.py", "src/shop/nodes.py"}
    assert set(code.named.digests) == {"conf"}


def test_a_console_script_of_the_project_leads_to_its_module(project):
    project.put("pyproject.toml", '[project.scripts]\ntrain-shop = "shop.cli:main"\n')
    project.put("src/shop/__init__.py")
    project.put("src/shop/cli.py", "from . import nodes")
    project.put("src/shop/nodes.py")
    assert project.files("train-shop --fast") == {"src/shop/__init__.py", "src/shop/cli.py", "src/shop/nodes.py"}
    assert project.files("other --fast") == set()


@pytest.fixture
def installed(project, tmp_path, monkeypatch):
    """Install a package outside the project in editable mode, with entry points. Return its folder."""
    package, site = Folder(tmp_path / "tool"), Folder(tmp_path / "lib/site-packages")
    package.put("src/tool/__init__.py")
    package.put("src/tool/main.py", "import tool.plug")
    package.put("src/tool/plug.py")
    site.put(
        "tool-1.dist-info/direct_url.json", f'{{"url": "file://{package.path}", "dir_info": {{"editable": true}}}}'
    )
    site.put(
        "tool-1.dist-info/entry_points.txt",
        "[console_scripts]\nrun-tool = tool.main:go\n[shop.plugins]\nx = tool.plug\n",
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(site.path)])
    return package


def test_a_console_script_of_an_editable_install_leads_to_its_module(project, installed):
    assert project.files("run-tool --fast") == {"tool/__init__.py", "tool/main.py", "tool/plug.py"}


def test_plug_ins_that_are_loaded_by_entry_point_count(project, installed):
    project.put(
        "t.py", "from importlib.metadata import entry_points\nfor one in entry_points(group='shop.plugins'): ..."
    )
    assert project.files("python t.py") == {"t.py", "tool/__init__.py", "tool/plug.py"}


# --- modules loaded by a call ---


@pytest.mark.parametrize(
    "line",
    [
        "importlib.import_module('plugins.one')",
        "import_module(name='plugins.one')",
        "__import__('plugins.one')",
        "importlib.import_module('.one', package='plugins')",
        "importlib.import_module('.plugins.one', __package__)",
        "runpy.run_module('plugins.one')",
        "runpy.run_path('plugins/one.py')",
        "runpy.run_path(os.path.join(os.path.dirname(__file__), 'plugins', 'one.py'))",
        "importlib.util.spec_from_file_location('one', Path(__file__).parent / 'plugins' / 'one.py')",
        "importlib.util.spec_from_file_location('one', location='plugins/one.py')",
    ],
)
def test_a_module_that_is_loaded_by_a_literal_name_or_path_counts(project, line):
    project.put("plugins/one.py")
    project.put("t.py", f"import importlib.util, runpy, os\nfrom pathlib import Path\n{line}\n")
    assert project.files("python t.py") == {"t.py", "plugins/one.py"}


@pytest.mark.parametrize("line", ["import_module(name)", "import_module()", "run_path(x)", "entry_points()"])
def test_names_that_are_known_only_at_run_time_are_passed_over(project, line):
    project.put("t.py", line)
    assert project.files("python t.py") == {"t.py"}


PIECES = [
    *(
        "python",
        "t.py",
        "-c",
        "-m",
        "'",
        '"',
        "$(",
        ")",
        "`",
        "dirname",
        "$0",
        "$PWD",
        "{a}",
        "{{",
        "}",
        "&&",
        ">",
        "<<",
    ),
    *(
        "cd",
        "make",
        "pytest",
        "dvc repro",
        "kedro run",
        "..",
        "*",
        "[",
        "=",
        "data",
        "run.sh",
        "\n",
        "\\",
        "#",
        "~",
        "\0",
    ),
]


@given(
    pieces=st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["", " ", "/"])), max_size=12), value=st.text()
)
@example(pieces=[("~", ""), ("\0", "")], value="")
@example(pieces=[("pytest", " "), ("'", "/")], value="")
@example(pieces=[("~", ""), ("{a}", "/")], value="\ud800\0")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_no_command_and_no_value_raises(project, pieces, value):
    for name in ("t.py", "run.sh", "data/x.csv"):
        project.put(name, "python t.py data/*.csv -c 'import t'" if name.endswith(".sh") else "")
    command = "".join(piece + gap for piece, gap in pieces)
    assert len(project.code(command, {"a": value}).digest) == 64


# --- nothing known ---


@pytest.mark.parametrize(
    ("command", "known"),
    [
        ("python t.py", True),
        ("python -c 'print(1)'", True),
        ("python -u -c {code}", True),
        ("python t.py -c rows.csv", True),
        ("sometool -c rows.csv", False),
        ("jupyter nbconvert --execute n.ipynb", True),
        ("sometool --rows rows.csv", False),
        ("cat rows.csv", False),
        ("python -m installed.tool", False),
        ("make", False),
    ],
)
def test_a_command_without_code_of_the_user_is_told_apart(project, command, known):
    for name in ("t.py", "n.ipynb", "rows.csv"):
        project.put(name)
    assert project.code(command).has_code is known
    assert code_digest(project.path, command, []).has_code


def test_the_search_path_of_the_environment_matters_only_where_it_leads_to_code(project, monkeypatch):
    project.put("t.py", "import json, helper")
    before = project.code("python t.py")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project.path), "/nowhere", "~/lib"]))
    assert project.code("python t.py") == before
