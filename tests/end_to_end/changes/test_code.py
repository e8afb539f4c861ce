"""A change of code that the phase runs makes it run again, by whatever way the code was reached."""

import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize(
    "load",
    [
        "import importlib\nimportlib.import_module('plugins.' + 'one')",
        "import importlib.util as u\nspec = u.spec_from_file_location('one', 'plugins/one.py')\n"
        "spec.loader.exec_module(u.module_from_spec(spec))",
        "import sys\nsys.path.insert(0, 'plug' + 'ins')\nimport one",
        "exec(open('plugins/one.py').read())",
    ],
)
def test_a_module_that_is_loaded_at_run_time(changing, runs_after, load):
    changing.script(load)
    changing.write("plugins/one.py", "VALUE = 1\n")
    assert "plugins/one.py" in runs_after(lambda: changing.write("plugins/one.py", "VALUE = 2\n"))


def test_a_compiled_module_without_its_source(changing, runs_after):
    changing.script("import solver")

    def compile_it(value):
        source = changing.write("solver.py", f"VALUE = {value}\n")
        py_compile.compile(str(source), str(source.with_suffix(".pyc")))
        source.unlink()

    compile_it(1)
    assert "solver.pyc" in runs_after(lambda: compile_it(2))


def test_a_module_on_the_pythonpath_of_the_environment(changing, runs_after):
    changing.monkeypatch.setenv("PYTHONPATH", str(changing.outside))
    changing.script("import shared_tools")
    changing.write(str(changing.outside / "shared_tools.py"), "VALUE = 1\n")
    runs_after(lambda: changing.write(str(changing.outside / "shared_tools.py"), "VALUE = 2\n"))


def test_code_that_projects_share_beside_them(changing, runs_after):
    changing.script("import sys\nsys.path.insert(0, '../outside')\nimport common_code")
    changing.write(str(changing.outside / "common_code.py"), "VALUE = 1\n")
    runs_after(lambda: changing.write(str(changing.outside / "common_code.py"), "VALUE = 2\n"))


@pytest.mark.parametrize(
    ("command", "files", "changed"),
    [
        ('python "$PWD/t.py"', {"t.py": "print(1)\n"}, "t.py"),
        ("./run_train", {"run_train": "#!/usr/bin/env python\nprint(1)\n"}, "run_train"),
        ("./run_train", {"run_train": "#!/bin/sh\npython step.py\n", "step.py": "print(1)\n"}, "step.py"),
        ("make train", {"Makefile": "train:\n\tpython step.py\n", "step.py": "print(1)\n"}, "step.py"),
        ("python -m pytest -q -p no:cacheprovider .", {"test_it.py": "def test_it():\n    print(1)\n"}, "test_it.py"),
    ],
)
def test_the_code_behind_a_command(changing, command, files, changed):
    changing.declare(command)
    for name, text in files.items():
        changing.write(name, text).chmod(0o755)
    assert changing.start().verdict == "run"
    assert changing.start().verdict == "reuse"
    changing.write(changed, files[changed].replace("print(1)", "print(2)"))
    assert changing.start().verdict == "run"


def test_a_command_without_any_code_of_the_project_that_was_not_observed_is_asked_about(changing):
    changing.declare("true", keys="{observe: none}")
    assert changing.start().verdict == "run"
    asked = changing.start()
    assert asked.verdict == "ask"
    assert "code" in asked.reason


def test_a_helper_module_that_moves_is_named_as_moved(changing):
    changing.script("import helper\nprint(helper.VALUE)")
    changing.write("helper.py", "VALUE = 1\n")
    assert changing.start().computed
    (changing.folder / "helper.py").unlink()
    changing.write("lib/__init__.py", "")
    changing.write("lib/helper.py", "VALUE = 1\n")
    changing.script("from lib import helper\nprint(helper.VALUE)")
    again = changing.start()
    assert again.verdict == "reuse" or "moved" in again.reason


def test_a_docstring_that_is_behaviour(changing, runs_after):
    changing.script('"""Usage: main.py"""\nprint(__doc__)')
    changing.write("main.py", '"""Usage: main.py"""\nopen("../witness.txt", "a").write("x")\nprint(__doc__)\n')
    runs_after(
        lambda: changing.write(
            "main.py", '"""Usage: main.py [--fast]"""\nopen("../witness.txt", "a").write("x")\nprint(__doc__)\n'
        )
    )


def test_comments_layout_and_docstrings_that_nobody_reads(changing, reuses_after):
    changing.script("import helper\nprint(1)")
    changing.write("helper.py", '"""Help."""\nVALUE = 1\n')

    def edit() -> None:
        changing.write("helper.py", '"""Help a lot."""\n# The value.\nVALUE = (\n    1\n)\n')

    reuses_after(edit)


@pytest.mark.parametrize("name", ["main.py", "query.sql", "conf.yaml"])
def test_line_ends_of_listed_code(changing, reuses_after, name):
    changing.declare(keys="{code: [main.py, query.sql, conf.yaml]}")
    changing.script("print(1)")
    changing.write("query.sql", "select 1\nfrom a\n")
    changing.write("conf.yaml", "a: 1\nb: 2\n")
    path = changing.folder / name
    reuses_after(lambda: path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n")))


def test_an_editable_package_inside_or_outside_the_project(changing, runs_after, tmp_path):
    site = Path(tmp_path / "site")
    site.mkdir()
    (site / "own.pth").write_text(str(changing.outside))
    changing.script(f"import site\nsite.addsitedir({str(site)!r})\nimport ownpackage")
    changing.write(str(changing.outside / "ownpackage" / "__init__.py"), "VALUE = 1\n")
    runs_after(lambda: changing.write(str(changing.outside / "ownpackage" / "__init__.py"), "VALUE = 2\n"))


def test_a_pinned_version_that_changes_is_mentioned_or_counts_as_told(changing):
    changing.script("import yaml")
    changing.write("python_env.yaml", "python: '3.11'\ndependencies:\n  - -r requirements.txt\n")
    changing.write("requirements.txt", "pyyaml==6.0\n")
    changing.declare(rest="python_env: python_env.yaml")
    assert changing.start().computed
    changing.write("requirements.txt", "pyyaml==6.0.1\n")
    mentioned = changing.start()
    assert mentioned.verdict == "reuse"
    assert "requirements.txt" in mentioned.reason
    for policy, verdict in (("ignore", "reuse"), ("ask", "ask"), ("count", "run")):
        changing.declare(rest="python_env: python_env.yaml", keys=f"{{environment: {policy}}}")
        answer = changing.start()
        assert answer.verdict == verdict, policy
        assert ("requirements.txt" in answer.reason) == (policy != "ignore")


def test_another_version_of_an_imported_package_is_mentioned(changing, tmp_path):
    def install(version: str) -> None:
        site = tmp_path / "site-packages"
        changing.write(str(site / "ownlib.py"), "VALUE = 1\n")
        for outdated in site.glob("*.dist-info"):
            shutil.rmtree(outdated)
        info = site / f"ownlib-{version}.dist-info"
        changing.write(str(info / "METADATA"), f"Metadata-Version: 2.1\nName: ownlib\nVersion: {version}\n")
        changing.write(str(info / "top_level.txt"), "ownlib\n")
        changing.write(str(info / "RECORD"), "ownlib.py,,\n")

    install("1.5.2")
    changing.monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site-packages"))
    changing.monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    changing.script("import ownlib")
    assert changing.start().computed
    install("1.6.1")
    again = changing.start()
    assert again.verdict == "reuse"
    assert "ownlib 1.5.2, here 1.6.1" in again.reason
    assert subprocess.run([sys.executable, "-c", "import ownlib"], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("rebuilt", ["tool", "libnumber.so"])
def test_native_code_of_the_projects_own(changing, runs_after, rebuilt):
    def build(number: int) -> None:
        source = changing.write("number.c", f"int number() {{ return {number}; }}\nint main() {{ return 0; }}\n")
        kind = ["-shared", "-fPIC"] if rebuilt.endswith(".so") else []
        subprocess.run(["cc", *kind, "-o", str(changing.folder / rebuilt), str(source)], check=True)

    build(1)
    run = {"tool": "import subprocess\nsubprocess.run(['./to' + 'ol'])"}
    changing.script(run.get(rebuilt, "import ctypes\nctypes.CDLL('./lib' + 'number.so').number()"))
    assert rebuilt in runs_after(lambda: build(2))
