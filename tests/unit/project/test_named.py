"""Files and folders that a command or a parameter names count by their content, and never make a phase run for ever."""

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_plugin.project import named
from mlflow_plugin.project.code import code_digest
from mlflow_plugin.project.command import OUTPUT_NAME
from mlflow_plugin.project.identity import Identity, recipe_of, with_written
from mlflow_plugin.project.mlproject import load_project

Make = Callable[..., Identity]


@pytest.fixture
def make(tmp_path, monkeypatch, cache_folder) -> Make:
    """Return a function that writes a project of one phase and gives the phase's identity now."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = tmp_path / "project"
    project.mkdir()
    (project / "t.py").write_text("")

    def identity(
        command: str = "python t.py",
        values: Mapping[str, object] | None = None,
        parameters: Mapping[str, object] | None = None,
        phase: Mapping[str, object] | None = None,
    ) -> Identity:
        entry = {"command": command, "parameters": parameters or {}, "phase": phase or {}}
        (project / "MLproject").write_text(json.dumps({"name": "p", "entry_points": {"train": entry}}))
        loaded = load_project(project)
        return Identity(recipe_of(loaded, loaded.phase("train"), values or {}, tmp_path), {})

    return identity


@pytest.fixture
def put(tmp_path, make) -> Callable[..., Path]:
    def write(name: str, text: str = "1") -> Path:
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def same(new: Identity, old: Identity, fingerprint: str = "") -> bool:
    """Return whether a run of the old identity is found for the new one and counts as the same."""
    found = {*new.digests()} & {*old.digests()}
    return bool(found) and not new.differences(json.loads(fingerprint or old.fingerprint()))


def told(new: Identity, old: Identity) -> list[str]:
    return new.differences(json.loads(old.fingerprint()))


# --- the command ---


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python t.py data", "data"),
        ("python t.py ./data/", "data"),
        ("python t.py --data data", "data"),
        ("python t.py --data=data", "data"),
        ("python t.py data=data", "data"),
        ("cat data/*.csv | python t.py", "data/*.csv"),
        ("python t.py 'data/*.csv'", "data/*.csv"),
        ("for f in data/?.csv; do python t.py $f; done", "data/?.csv"),
        ("python t.py file://$PWD/data", "data"),
        ("cd sub && python ../t.py ../data", "data"),
    ],
)
def test_a_folder_or_a_pattern_in_the_command_counts_by_its_files(make, put, command, name):
    put("sub/x.txt")
    file = put("data/a.csv")
    old = make(command)
    assert same(make(command), old)
    os.utime(file, (1, 1))
    assert same(make(command), old)
    file.write_text("2")
    assert told(make(command), old) == [f"the content of {name}"]
    file.write_text("1")
    added = put("data/b.csv")
    assert not same(make(command), old)
    added.unlink()
    assert same(make(command), old)
    file.rename(file.with_name("c.csv"))
    assert not same(make(command), old)


def test_signs_of_a_pattern_in_the_name_of_the_projects_folder_are_plain_text(tmp_path, cache_folder):
    project = tmp_path / "a[b]*?"
    (project / "data [1]").mkdir(parents=True)
    for name in ("data [1]/a.csv", "t.py"):
        (project / name).write_text("1")
    code = code_digest(project, "python t.py 'data [1]' 'data [1]/*.csv' 'gone [1]/*.csv' gone", None)
    assert set(code.named.digests) == {"data [1]", "data [1]/*.csv"}


def test_a_file_in_the_command_is_found_by_its_old_digest_and_by_that_of_the_programs_alone(make, put):
    rows = put("rows.csv")
    old = make("python t.py rows.csv")
    rows.write_text("2")
    new = make("python t.py rows.csv")
    assert told(new, old) == ["the content of rows.csv"]
    assert {*new.digests()} & {*old.digests()} == {new.digests()[-1]}


@pytest.mark.parametrize(
    "command",
    [
        "mkdir -p data && python t.py",
        "rm -rf data; python t.py",
        "cd data && python ../t.py",
        "python t.py --out data",
        "python t.py --output-dir=data",
        "python t.py -o data",
        "cp t.py data",
        "OUT=data python t.py",
        "PYTHONPATH=data python t.py",
        "python t.py > data/a.csv",
        "python -m data",
        "echo data; python t.py",
        "python t.py . ..",
        "python t.py mlruns .hidden",
    ],
)
def test_words_that_name_no_data_do_not_count(make, put, command):
    file = put("data/a.csv")
    put("mlruns/0/meta.yaml")
    put(".hidden/a.csv")
    old = make(command)
    file.write_text("2")
    put("mlruns/0/meta.yaml", "2")
    put(".hidden/a.csv", "2")
    assert same(make(command), old)


@pytest.mark.parametrize(
    ("option", "is_output"),
    [
        *((option, True) for option in ("--out", "--output", "--output-dir", "-o", "outdir", "--log-dir", "save_path")),
        *((option, True) for option in ("--results-dir", "--model-output", "--export", "--dest", "--logs")),
        *((option, False) for option in ("--held-out", "--data", "--login", "timeout", "--logits", "-i", "--input")),
        *((option, False) for option in ("--outliers", "--destiny", "--saved", "")),
    ],
)
def test_options_that_name_an_output_are_told_by_their_names(option, is_output):
    assert (OUTPUT_NAME.fullmatch(option) is not None) is is_output


def test_data_outside_the_project_counts_under_the_text_of_the_command(make, tmp_path, monkeypatch):
    file = tmp_path / "shared" / "rows.csv"
    file.parent.mkdir()
    file.write_text("1")
    monkeypatch.setenv("DATA", str(file.parent))
    old = make("python t.py $DATA/rows.csv")
    assert list(old.recipe.named) == ["$DATA/rows.csv"]
    file.write_text("2")
    assert told(make("python t.py $DATA/rows.csv"), old) == ["the content of $DATA/rows.csv"]


def test_data_in_the_home_folder_is_found_by_its_short_name(make, tmp_path):
    file = tmp_path / "home" / "rows.csv"
    file.parent.mkdir()
    file.write_text("1")
    command, values = "python t.py ~/rows.csv {data}", {"data": "~/rows.csv"}
    old = make(command, values, UNTYPED)
    assert set(old.recipe.named) == {"~/rows.csv", "{data}"}
    file.write_text("2")
    assert told(make(command, values, UNTYPED), old) == ["the content of ~/rows.csv", "the content of data=~/rows.csv"]


def test_system_folders_and_executables_are_no_data(make, tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    identity = make(f"python t.py /etc /usr/bin/env /dev/null {tool} {tmp_path}")
    assert not identity.recipe.named


# --- parameters ---

UNTYPED: Mapping[str, object] = {"data": {"default": "none"}}


@pytest.mark.parametrize("kind", ["", "string", "uri"])
@pytest.mark.parametrize("text", ["rows.csv", "./rows.csv", "data", "data/a.csv", "file://{project}/rows.csv"])
def test_a_text_that_names_a_file_or_folder_counts_by_its_content(make, put, tmp_path, kind, text):
    files = [put("rows.csv"), put("data/a.csv")]
    given = {"data": text.format(project=tmp_path / "project")}
    arguments = ("python t.py {data}", given, {"data": {"type": kind, "default": "none"} if kind else "string"})
    old = make(*arguments)
    assert same(make(*arguments), old)
    for file in files:
        os.utime(file, (1, 1))
    assert same(make(*arguments), old)
    for file in files:
        file.write_text("2")
    assert told(make(*arguments), old) == [f"the content of data={given['data']}"]


def test_another_text_is_another_value_though_the_content_is_the_same(make, put):
    put("a.csv")
    put("b.csv")
    one, other = (make("python t.py {data}", {"data": name}, UNTYPED) for name in ("a.csv", "b.csv"))
    assert told(other, one) == ["data (a.csv -> b.csv)"]


def test_not_paths_opts_out_and_may_be_added_later(make, put):
    file = put("resnet/weights.bin")
    arguments = ("python t.py {model}", {"model": "resnet"}, {"model": "string"})
    counted, old = make(*arguments), make(*arguments, {"not_paths": ["model"]})
    file.write_text("2")
    assert same(make(*arguments, {"not_paths": ["model"]}), old)
    assert same(make(*arguments, {"not_paths": ["model"]}), counted)
    assert not same(make(*arguments), counted)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "/", "~", "./", "../project", "{project}", "10", "1e3", "mlruns", " data"]
)
def test_values_that_name_no_data_count_as_text(make, put, tmp_path, text):
    for name in ("data/a.csv", "10/a.csv", "1e3/a.csv", "mlruns/a.csv"):
        put(name)
    given = {"data": text.format(project=tmp_path / "project")}
    old = make("python t.py {data}", given, {"data": "string"})
    assert not old.recipe.named
    put("data/a.csv", "2")
    assert same(make("python t.py {data}", given, {"data": "string"}), old)


@pytest.mark.parametrize(
    "command", ["python t.py --out {place}", "python t.py {out_dir}", "python t.py --data {name}.csv"]
)
def test_outputs_and_parts_of_names_are_no_data(make, put, command):
    put("runs/log.txt")
    values = {name: "runs" for name in ("place", "out_dir", "name") if f"{{{name}}}" in command}
    assert not make(command, values, dict.fromkeys(values, "string")).recipe.named


def test_a_program_that_a_parameter_names_counts_once_as_code(make, put):
    script = put("models/a.py", "X = 1")
    arguments = ("python {script}", {"script": "models/a.py"}, {"script": "string"})
    old = make(*arguments)
    script.write_text("X = 1  # the same\n")
    assert same(make(*arguments), old)
    script.write_text("X = 2")
    assert told(make(*arguments), old) == ["the code of models/a.py"]


def test_an_ignored_parameter_still_selects_code(make, put):
    put("a.py", "X = 1")
    put("b.py", "X = 2")
    one, other = (
        make("python {script}", {"script": name}, {"script": "string"}, {"ignore": ["script"]})
        for name in ("a.py", "b.py")
    )
    assert not same(one, other)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_no_text_raises(make, text):
    assert make("python t.py {data}", {"data": text}, UNTYPED).digests()


# --- what a run leaves behind ---


def test_a_file_or_folder_that_was_not_there_when_the_run_began_changes_nothing(make, put):
    arguments = ("python t.py work rows.csv {cache}", {"cache": "cache"}, {"cache": "string"})
    old = make(*arguments)
    for name in ("work/a.csv", "rows.csv", "cache/a.bin"):
        put(name)
    assert same(make(*arguments), old)


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("papermill n.ipynb n.ipynb", {}),
        ("papermill {notebook} {notebook}", {"notebook": "string"}),
        ("papermill {notebook} {notebook}", {"notebook": "path"}),
        ("python t.py work", {}),
    ],
)
def test_a_file_that_the_run_itself_wrote_to_no_longer_counts(make, put, tmp_path, command, parameters):
    file = put("work/a.csv" if "work" in command else "n.ipynb", "before")
    given = {"notebook": str(tmp_path / "project/n.ipynb")} if parameters else {}
    old = make(command, given, parameters)
    file.write_text("after")
    assert not same(make(command, given, parameters), old)
    kept = json.loads(old.fingerprint())
    marked = json.loads(with_written(kept, old.recipe, [str(file)]))
    assert make(command, given, parameters).differences(marked) == []
    assert with_written(marked, old.recipe, [str(file)]) == ""
    assert with_written(kept, old.recipe, [str(tmp_path / "elsewhere")]) == ""


def test_a_file_that_is_gone_is_told(make, put):
    file = put("rows.csv")
    old = make("python t.py {data}", {"data": "rows.csv"}, UNTYPED)
    file.unlink()
    assert told(make("python t.py {data}", {"data": "rows.csv"}, UNTYPED), old) == ["data=rows.csv, which is gone"]


def test_the_state_of_each_named_file_can_be_explained(make, put):
    for name in ("same.csv", "changed.csv", "written.csv", "value.csv"):
        put(name)
    command = "python t.py same.csv changed.csv written.csv added.csv {data}"
    old = make(command, {"data": "value.csv"}, UNTYPED)
    kept = json.loads(with_written(json.loads(old.fingerprint()), old.recipe, [old.recipe.named_paths["written.csv"]]))
    for name in ("changed.csv", "written.csv", "added.csv"):
        put(name, "2")
    states = make(command, {"data": "value.csv"}, UNTYPED).named_states(kept)
    assert {name: state for name, state, _ in states} == {
        "same.csv": "same",
        "changed.csv": "changed",
        "written.csv": "ignored",
        "added.csv": "not compared",
        "data=value.csv": "same",
    }


def test_a_run_of_the_first_version_counts_by_what_it_kept(make, put):
    put("data/a.csv")
    rows = put("rows.csv")
    new = make("python t.py rows.csv data {data}", {"data": "data"}, UNTYPED)
    kept = json.loads(new.fingerprint())
    del kept["named"], kept["programs"]
    assert new.differences(kept) == []
    rows.write_text("2")
    now = make("python t.py rows.csv data {data}", {"data": "data"}, UNTYPED)
    assert now.differences(kept) == ["the code of rows.csv"]


@pytest.mark.parametrize(
    "damaged",
    [
        *({"named": 1}, {"written": {}}, {"image": "x"}, {"files": []}, {"parameters": 0}, {"programs": []}),
        *({"parameters": {"data": 3}}, {"parameters": {"data": []}}, {"parameters": {"*": 1}}, {"named": {"*": []}}),
    ],
)
def test_a_damaged_fingerprint_is_compared_without_a_traceback(make, damaged):
    identity = make("python t.py {data}", {"data": "x"}, UNTYPED)
    damage = {**json.loads(identity.fingerprint()), **damaged}
    assert isinstance(identity.differences(damage), list)
    assert isinstance(with_written(damage, identity.recipe, ["/elsewhere"]), str)


# --- large and odd ---


def test_a_folder_with_too_many_files_is_named_instead_of_compared(make, put, monkeypatch):
    monkeypatch.setattr(named, "FOLDER_LIMIT", 3)
    for number in range(5):
        put(f"data/{number}.csv")
    old = make("python t.py data data/*.csv {data}", {"data": "data"}, UNTYPED)
    assert old.recipe.uncompared == ("data", "data/*.csv", "data=data")
    put("data/1.csv", "2")
    assert same(make("python t.py data data/*.csv {data}", {"data": "data"}, UNTYPED), old)


def test_pipes_sockets_and_cycles_of_links_in_a_folder_end(make, put, tmp_path):
    folder = put("data/a.csv").parent
    os.mkfifo(folder / "pipe")
    (folder / "cycle").symlink_to(folder)
    (folder / "broken").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(folder)
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        assert list(make("python t.py data data/pipe").recipe.named) == ["data"]


def test_a_file_that_cannot_be_read_is_named_instead_of_compared(make, put, monkeypatch):
    def refuse(path: Path) -> str:
        raise named.PhaseError(f"{path} cannot be read")

    put("rows.bin")
    monkeypatch.setattr(named, "file_digest", refuse)
    assert make("python t.py {data}", {"data": "rows.bin"}, UNTYPED).recipe.uncompared == ("data=rows.bin",)


def test_many_named_files_still_fit_into_a_tag_and_are_compared(make, put):
    names = [f"data/a_file_with_quite_a_long_name_{number}.csv" for number in range(250)]
    for name in names:
        put(name)
    command = f"python t.py {' '.join(names)}"
    old = make(command)
    assert len(old.fingerprint()) < 8000
    assert same(make(command), old)
    put(names[100], "2")
    assert told(make(command), old) == ["the content of files that it names"]


# --- line ends ---


@pytest.mark.parametrize("name", ["a.sql", "a.yaml", "a.toml", "a.json", "a.txt", "a.md", "run.sh", "conf.cfg"])
@pytest.mark.parametrize("listed", [True, False])
def test_line_ends_of_text_that_counts_as_code_do_not_matter(make, put, name, listed):
    arguments = (f"python t.py {name}", {}, {}, {"code": ["t.py", name]} if listed else {})
    file = put(name, "one: 1\ntwo: 2\n")
    old = make(*arguments)
    file.write_bytes(b"one: 1\r\ntwo: 2\r\n")
    new = make(*arguments)
    assert same(new, old)
    assert new.digests() == old.digests()
    file.write_bytes(b"one: 1\rtwo: 2\r")
    assert not same(make(*arguments), old)


def test_line_ends_of_data_count(make, put):
    arguments = ("python t.py rows.csv data {rows}", {"rows": "rows.txt"}, {"rows": "string"})
    for name in ("rows.csv", "data/a.txt", "rows.txt"):
        file = put(name, "1\n2\n")
        put("rows.csv", "1\n2\n")
        old = make(*arguments)
        file.write_bytes(b"1\r\n2\r\n")
        assert not same(make(*arguments), old)
        file.write_bytes(b"1\n2\n")
