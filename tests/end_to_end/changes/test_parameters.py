"""A change of a parameter's value is seen as what it is."""

import pytest

pytestmark = pytest.mark.end_to_end

PYTHON = "python main.py {value}"


@pytest.mark.parametrize(("before", "after"), [("1.1", "1.10"), ("1", "001")])
def test_without_a_type_the_text_counts(changing, before, after):
    changing.declare(PYTHON, parameters="{value: {default: x}}")
    changing.script("")
    assert changing.start(value=before).computed
    assert changing.start(value=after).computed
    assert changing.start(value=before).verdict == "reuse"


def test_a_typed_number_is_compared_as_a_number(changing):
    changing.declare(PYTHON, parameters="{value: {type: float, default: 1}}")
    changing.script("")
    assert changing.start(value="0.001").computed
    assert changing.start(value="1e-3").verdict == "reuse"


@pytest.mark.parametrize("kind", ["{type: string}", "{default: x}", "{type: path}"])
def test_a_value_that_names_a_file_counts_by_its_content(changing, kind):
    changing.declare(PYTHON, parameters=f"{{value: {kind}}}", keys="{observe: none}")
    changing.script("import sys; print(sys.argv)")
    rows = changing.write("rows.csv", "1")
    value = str(rows) if "path" in kind else "rows.csv"
    assert changing.start(value=value).computed
    assert changing.start(value=value).verdict == "reuse"
    changing.write("rows.csv", "2")
    assert changing.start(value=value).computed


def test_a_path_given_as_a_file_uri_counts_by_its_content(changing):
    changing.declare(PYTHON, parameters="{value: {type: path}}", keys="{observe: none}")
    changing.script("")
    rows = changing.write("rows.csv", "1")
    assert changing.start(value=rows.as_uri()).computed
    assert changing.start(value=rows.as_uri()).verdict == "reuse"
    changing.write("rows.csv", "2")
    assert changing.start(value=rows.as_uri()).computed


def test_a_value_that_is_declared_to_be_no_path_counts_as_text(changing):
    changing.declare(PYTHON, parameters="{value: {type: string}}", keys="{not_paths: [value], observe: none}")
    changing.script("")
    changing.write("bert", "1")
    assert changing.start(value="bert").computed
    changing.write("bert", "2")
    assert changing.start(value="bert").verdict == "reuse"


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("python models/{value}.py", "models/small.py"),
        ("python -m models.{value}", "models/small.py"),
        ("python main.py conf/{value}.yaml", "conf/small.yaml"),
    ],
)
def test_a_parameter_that_is_part_of_a_name_leads_to_the_file(changing, command, changed):
    changing.declare(command, parameters="{value: {default: small}}", keys="{observe: none}")
    changing.script("")
    changing.write("models/__init__.py", "")
    changing.write("models/small.py", "print(1)\n")
    changing.write("conf/small.yaml", "a: 1\n")
    assert changing.start().verdict == "run"
    assert changing.start().verdict == "reuse"
    changing.write(changed, "print(2)\n" if changed.endswith(".py") else "a: 2\n")
    assert changing.start().verdict == "run"


@pytest.mark.parametrize("command", ["python main.py data", "python main.py data/*.csv"])
def test_a_folder_or_a_glob_in_the_command(changing, runs_after, command):
    changing.declare(command)
    changing.script(
        "import sys, os\nfor name in sys.argv[1:]:\n"
        "    [open(os.path.join(name, one)).read() for one in os.listdir(name)] "
        "if os.path.isdir(name) else open(name).read()"
    )
    changing.write("data/a.csv", "1")
    changing.write("data/b.csv", "1")
    runs_after(lambda: changing.write("data/a.csv", "2"))


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("python main.py notebook.ipynb work", "{}"),
        ("cat notebook.ipynb > /dev/null && python main.py notebook.ipynb work", "{}"),
        ("python main.py {notebook} {folder}", "{notebook: {default: notebook.ipynb}, folder: {default: work}}"),
    ],
)
def test_what_the_phase_writes_into_what_its_command_names_does_not_make_it_run_for_ever(changing, command, parameters):
    changing.declare(command, parameters=parameters)
    changing.write("notebook.ipynb", "{}")
    changing.write("work/rows.csv", "1")
    changing.script(
        """
        import sys, time
        notebook, work = sys.argv[1:]
        assert open(notebook).read() and open(f"{work}/rows.csv").read()
        for name in (notebook, f"{work}/cache.bin", f"{work}/log.txt"):
            open(name, "a").write(str(time.time()))
        """
    )
    assert changing.start().computed
    again = changing.start()
    assert (again.verdict, again.computed) == ("reuse", False), again.reason
    changing.write("work/rows.csv", "2")
    changed = changing.start()
    assert changed.computed, changed.reason
    assert changing.start().verdict == "reuse"


def test_booleans_and_none_are_taken_as_mlflow_takes_them(changing):
    changing.declare(PYTHON, parameters="{value: {type: boolean, default: False}, size: {type: int, default: None}}")
    changing.script("")
    assert changing.start().computed
    assert changing.start(value="False").verdict == "reuse"
    assert changing.start(value="True").computed


def test_an_added_parameter_is_asked_about_with_the_value_that_is_assumed(changing):
    changing.script("")
    changing.declare("python main.py", parameters="{}")
    assert changing.start().computed
    changing.declare("python main.py --dropout {dropout}", parameters="{dropout: {type: float, default: 0.1}}")
    asked = changing.start()
    assert (asked.verdict, asked.computed) == ("ask", False)
    assert "dropout" in asked.reason
    assert "0.1" in asked.reason


def test_a_parameter_that_is_taken_out_of_ignore_counts_with_the_value_that_was_used(changing):
    changing.declare(PYTHON, parameters="{value: {type: int, default: 1}}", keys="{ignore: [value]}")
    changing.script("")
    assert changing.start(value=5).computed
    assert changing.start(value=6).verdict == "reuse"
    changing.declare(PYTHON, parameters="{value: {type: int, default: 1}}")
    assert changing.start(value=1).verdict == "run", "it was made with 5, not with the default"
    assert changing.start(value=5).verdict == "reuse"
