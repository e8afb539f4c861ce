import os
import socket
import time
from dataclasses import replace

import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation import file_comparison, states
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.observation.variables import variable_digest
from mlflow_plugin.project import digests


def test_an_unchanged_file_is_the_same(observed):
    observed.write("data/rows.csv")
    findings = observed.compare(observed.read("data/rows.csv").trace())
    assert findings == Findings(compared=1)


@pytest.mark.parametrize("content", ["2", "longer"])
def test_a_changed_file_is_named(observed, content):
    observed.write("data/rows.csv")
    trace = observed.read("data/rows.csv").trace()
    observed.write("data/rows.csv", content)
    findings = observed.compare(trace)
    assert findings.changed == ("data/rows.csv, which has changed since",)
    assert findings.state


def test_another_size_is_changed_without_reading_a_large_file(observed, monkeypatch):
    observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    monkeypatch.setattr(file_comparison, "_DIGESTED_TO_TELL_STATES", 2)
    monkeypatch.setattr(digests, "read_digest", lambda path: pytest.fail("read"))
    observed.write("rows.csv", "1234")
    assert observed.compare(trace).changed


def test_only_times_changed_or_replaced_by_equal_bytes_is_unchanged(observed):
    file = observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    os.utime(file, (1, 1))
    assert observed.compare(trace) == Findings(compared=1)
    os.replace(observed.write("new"), file)
    assert observed.compare(trace) == Findings(compared=1)


def test_the_state_is_that_of_the_differences_alone(observed):
    file = observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    observed.write("rows.csv", "22")
    state = observed.compare(trace).state
    os.utime(file, (1, 1))
    assert observed.compare(trace).state == state
    observed.write("rows.csv", "33")
    assert observed.compare(trace).state not in ("", state)


def test_a_file_that_is_gone_is_changed_and_one_whose_folder_is_missing_is_asked_about(observed, tmp_path):
    file = observed.write("data/rows.csv")
    for number in range(3):
        observed.write(f"mount/deep/{number}.csv")
        observed.read(f"mount/deep/{number}.csv")
    trace = observed.read("data/rows.csv").trace()
    file.unlink()
    (observed.folder / "mount").rename(tmp_path / "away")
    findings = observed.compare(trace)
    assert findings.changed == ("data/rows.csv, which is gone",)
    assert findings.unclear == ("mount is not here, so 3 files that it read there cannot be compared",)
    assert not findings.complete


def test_special_files_at_the_path_are_changed_and_never_opened(observed):
    for name in ("pipe", "socket", "loop", "folder"):
        observed.write(name)
        observed.read(name)
    trace = observed.trace()
    for name in ("pipe", "socket", "loop", "folder"):
        (observed.folder / name).unlink()
    os.mkfifo(observed.folder / "pipe")
    (observed.folder / "loop").symlink_to("loop")
    (observed.folder / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(observed.folder / "socket"))
    assert sorted(observed.compare(trace).changed) == [
        "folder, which is a folder now",
        "loop, which is a loop of links now",
        "pipe, which is not a regular file now",
        "socket, which is not a regular file now",
    ]


def test_a_file_that_must_not_be_read_is_asked_about(observed, monkeypatch):
    file = observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    os.utime(file, (1, 1))

    def refuse(path):
        raise PhaseError("permission denied")

    monkeypatch.setattr(file_comparison, "file_digest", refuse)
    assert observed.compare(trace).unclear == ("rows.csv cannot be read here",)


@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_listed_folder_counts_by_its_names(observed, change):
    observed.write("images/1.png")
    observed.write("images/2.png")
    trace = observed.listed("images").trace()
    assert observed.compare(trace) == Findings()
    if change == "added":
        observed.write("images/3.png")
    else:
        (observed.folder / "images/2.png").unlink()
    expected = "images/3.png" if change == "added" else "images/2.png"
    name = os.path.basename(expected)
    assert observed.compare(trace).changed == (f"images, where {name} is {'new' if change == 'added' else 'gone'}",)


def test_stores_logs_and_bytecode_do_not_count_among_the_names(observed):
    observed.write("rows.csv")
    trace = observed.listed(".").trace()
    for name in ("mlflow.db", "mlflow.db-journal", "mlruns/0/x", "EXPERIMENT_LOG.md", "__pycache__/a.pyc"):
        observed.write(name)
    assert observed.compare(trace) == Findings()
    observed.write("b.csv")
    assert observed.compare(trace).changed == ("the project's folder, where b.csv is new",)


def test_outputs_of_any_phase_and_ignored_names_do_not_count_in_a_listed_folder_and_files_beside_them_do(observed):
    observed.write("rows.csv")
    observed.write("old.log")
    trace = observed.listed(".").trace()
    observed.policy = Policy(
        ignore_reads=("logs/**", "*.log"), outputs=("work/rows",), listed_outputs=("work/rows", "models/*.pkl", "told")
    )
    for name in ("work/rows/1.csv", "models/a.pkl", "told", "logs/1.txt"):
        observed.write(name)
    (observed.folder / "old.log").unlink()
    assert observed.compare(trace) == Findings()
    observed.write("tolder")
    assert observed.compare(trace).changed == ("the project's folder, where tolder is new",)
    (observed.folder / "tolder").unlink()
    listed = observed.listed("models").trace()
    observed.write("models/b.pkl")
    assert observed.compare(listed) == Findings()
    observed.write("models/notes.txt")
    assert observed.compare(listed).changed == ("models, where notes.txt is new",)


def test_a_path_that_was_not_there_appears(observed):
    trace = observed.mark("absent", "config.local.yaml", "missing/folder.yaml").trace()
    assert observed.compare(trace) == Findings()
    observed.write("config.local.yaml")
    assert observed.compare(trace).changed == ("config.local.yaml, which was not there then",)


def test_data_files_come_first(observed):
    observed.write("rows.csv")
    observed.write("helper.py", "a = 1")
    observed.write("images/1.png")
    observed.read("helper.py", "rows.csv").listed("images")
    trace = observed.trace(variables={"LEVEL": variable_digest("1")})
    observed.write("rows.csv", "2")
    observed.write("helper.py", "a = 2")
    observed.write("images/2.png")
    findings = observed.compare(trace, environ={"LEVEL": "2"})
    assert [phrase.split(",")[0] for phrase in findings.changed] == [
        "rows.csv",
        "images",
        "helper.py",
        "the variable LEVEL",
    ]


def test_variables(observed):
    then = {"SAME": variable_digest("1"), "OTHER": variable_digest("1"), "UNSET": variable_digest("1"), "NEW": ""}
    trace = observed.trace(variables={**then, "API_KEY": None, "MLFLOW_RUN_ID": variable_digest("1")})
    findings = observed.compare(trace, environ={"SAME": "1", "OTHER": "2", "NEW": "", "API_KEY": "hunter2"})
    assert sorted(findings.changed) == [
        "the variable NEW, which was not set then",
        "the variable OTHER, which has another value now",
        "the variable UNSET, which is not set now",
    ]
    assert findings.mentions == ("API_KEY was read; its value is not compared",)
    assert not findings.complete


def test_the_variable_of_a_root_does_not_count(observed):
    observed.places = replace(observed.places, variables=frozenset({"DATA"}))
    assert not observed.trace(variables={"DATA": variable_digest("/mnt")}).variables


@pytest.mark.parametrize("environment", ["ignore", "mention", "ask", "count"])
def test_packages_and_the_environment_file(observed, environment):
    observed.write("requirements.txt", "a==1")
    observed.policy = Policy(environment=environment)
    trace = observed.trace(packages={"scikit-learn": "1.5.2", "numpy": "2.1"})
    observed.write("requirements.txt", "a==2")
    findings = observed.compare(trace, packages_here={"scikit-learn": "1.6.1"}.get)
    sentences = (
        "made with numpy 2.1, here not installed",
        "made with scikit-learn 1.5.2, here 1.6.1",
        "requirements.txt differs",
    )
    assert findings.mentions == (sentences if environment == "mention" else ())
    assert findings.unclear == (sentences if environment == "ask" else ())
    counted = (
        "numpy 2.1, which is not installed here",
        "scikit-learn 1.5.2, which is 1.6.1 here",
        "requirements.txt, which has changed since",
    )
    assert findings.changed == (counted if environment == "count" else ())


@pytest.mark.parametrize("dependencies", ["\n  - -r requirements.txt", " [pip, '-r requirements.txt']"])
def test_the_requirements_that_the_environment_file_includes_count(observed, dependencies):
    observed.write("MLproject", "name: x\npython_env: envs/python_env.yaml\n")
    observed.write("envs/python_env.yaml", f"dependencies:{dependencies}\n")
    observed.write("envs/requirements.txt", "a==1")
    observed.write("requirements.txt", "b==1")
    trace = observed.trace()
    assert list(trace.environment_files) == ["envs/python_env.yaml", "envs/requirements.txt"]
    observed.write("envs/requirements.txt", "a==2")
    assert observed.compare(trace).mentions == ("envs/requirements.txt differs",)


def test_an_environment_file_that_was_added_since_counts(observed):
    trace = observed.trace()
    observed.write("python_env.yaml", "dependencies: [mlflow]\n")
    assert observed.compare(trace).mentions == ("python_env.yaml is new",)


def test_packages_of_another_environment_are_not_compared(observed):
    assert observed.compare(observed.trace(packages={"numpy": "2.1"})) == Findings()


def test_references(observed):
    trace = observed.trace(references={"models:/m@champion": "3", "models:/m/latest": "3", "models:/gone@a": "1"})
    findings = observed.compare(trace, resolve_reference={"models:/m@champion": "4", "models:/m/latest": "3"}.get)
    assert findings.changed == ("models:/m@champion, which was version 3 and is version 4 now",)
    assert findings.unclear == ("models:/gone@a cannot be resolved here",)


@pytest.mark.parametrize("external", ["mention", "ask", "ignore"])
def test_peers(observed, external):
    observed.policy = Policy(external=external, known_peers=frozenset({"tracking:5000"}))
    findings = observed.compare(observed.trace(peers={"db:5432", "tracking:5000"}))
    sentence = ("also read from db:5432, not compared",)
    assert findings.mentions == (sentence if external == "mention" else ())
    assert findings.unclear == (sentence if external == "ask" else ())
    assert findings.complete == (external == "ignore")


def test_a_revision_of_the_hub(observed, tmp_path, monkeypatch):
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    snapshot = hub / "models--org--name" / "snapshots" / "0ddba11" / "config.json"
    branch = hub / "models--org--name" / "refs" / "main"
    for file, content in ((snapshot, "{}"), (branch, "0ddba11")):
        file.parent.mkdir(parents=True)
        file.write_text(content)
    trace = observed.read(snapshot, branch).trace()
    assert trace.file_count == 0
    assert observed.compare(trace) == Findings()
    branch.write_text("5eed5ed")
    assert observed.compare(trace).changed == ("org/name, which was revision 0ddba11 and is 5eed5ed now",)
    observed.seen = {}
    trace = observed.trace(references={"hub:models/org/name": "5eed5ed", "hub:datasets/org/rows": "beef"})
    assert [(name, one.branch) for name, one in trace.hub.items()] == [
        ("datasets/org/rows", "main"),
        ("org/name", "main"),
    ]
    assert observed.compare(trace).mentions == (
        "datasets/org/rows was read at revision beef; its newest revision is not compared",
    )
    branch.write_text("0ddba11")
    assert observed.compare(trace).changed == ("org/name, which was revision 5eed5ed and is 0ddba11 now",)
    trace = observed.trace(references={"hub:models/org/name": "fixed"})
    branch.write_text("another")
    assert observed.compare(trace) == Findings()


def test_coverage(observed):
    unseen = ("what pyarrow read was not seen",)
    assert observed.compare(observed.trace("python")).complete
    for coverage in ("python", "full"):
        assert observed.compare(observed.trace(coverage, unseen=unseen)).unclear == unseen
    assert observed.compare(Trace("none")) == Findings(mentions=("what it read was not recorded",), complete=False)


def test_a_path_outside_the_project_is_read_only_for_trusted_runs(observed, tmp_path, monkeypatch):
    outside = observed.write(tmp_path / "outside" / "rows.csv")
    trace = observed.read(outside).trace()
    outside.write_text("2")
    assert observed.compare(trace).changed == (f"{outside}, which has changed since",)
    monkeypatch.setattr(digests, "read_digest", lambda path: pytest.fail("read"))
    findings = observed.compare(trace, trusted=False)
    assert not findings.changed
    assert str(outside) in findings.unclear[0]
    assert not findings.complete


def test_a_root_that_has_no_folder_here_is_asked_about(observed, tmp_path):
    trace = observed.read(observed.write(tmp_path / "data" / "rows.csv")).trace()
    assert [file.name for file in trace.files] == ["root data: rows.csv"]
    observed.places = replace(observed.places, roots={"data": tmp_path / "elsewhere"})
    missing = "the folder of the root data is not here, so 1 file that it read there cannot be compared"
    assert observed.compare(trace).unclear == (missing,)
    observed.places = replace(observed.places, roots={})
    assert observed.compare(trace).unclear[0].startswith("the root data has no folder here, so 1 file that it read")
    (tmp_path / "data").rename(tmp_path / "moved")
    observed.places = replace(observed.places, roots={"data": tmp_path / "moved"})
    assert observed.compare(trace, trusted=False) == Findings(compared=1)


def test_keys_that_are_set_later_count_at_once(observed, tmp_path):
    observed.write("logs/a.log")
    outside = observed.write(tmp_path / "outside" / "rows.csv")
    trace = observed.read("logs/a.log", outside).trace()
    observed.write("logs/a.log", "2")
    outside.write_text("2")
    observed.policy = Policy(observe="project", ignore_reads=("logs/**",))
    assert observed.compare(trace) == Findings()


@pytest.fixture
def later(monkeypatch):
    """Lets ten seconds go by, so that no file was changed just now."""
    now = time.time_ns() + 10_000_000_000
    monkeypatch.setattr(states.time, "time_ns", lambda: now)


def compared_files(monkeypatch) -> list[str]:
    """The names of the files that are compared by themselves from now on."""
    compared, compare_one = [], file_comparison.FileComparison._file_is_same

    def count(self, file, path):
        compared.append(file.name)
        return compare_one(self, file, path)

    monkeypatch.setattr(file_comparison.FileComparison, "_file_is_same", count)
    return compared


def test_only_files_in_another_state_than_at_the_last_comparison_are_compared(observed, monkeypatch, later):
    for number in range(5):
        observed.write(f"data/{number}.csv")
        observed.read(f"data/{number}.csv")
    trace = observed.listed("data").trace()
    compared = compared_files(monkeypatch)
    assert observed.compare(trace) == observed.compare(trace) == Findings(compared=5)
    assert len(compared) == 5
    observed.write("data/3.csv", "2")
    compared.clear()
    for _ in range(2):
        assert observed.compare(trace).changed == ("data/3.csv, which has changed since",)
    assert compared == ["data/3.csv"] * 2
    observed.write("data/3.csv")
    assert observed.compare(trace) == Findings(compared=5)
    (observed.folder / "data/3.csv").unlink()
    assert "data/3.csv, which is gone" in observed.compare(trace).changed
    assert [row.state for row in observed.compare(trace, rows=True).rows].count("same") == 4


def test_another_process_knows_the_last_comparison(observed, monkeypatch, later):
    observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    observed.compare(trace)
    digests.flush()
    digests._forget_connection()
    compared = compared_files(monkeypatch)
    assert observed.compare(trace) == Findings(compared=1)
    assert not compared


def test_a_comparison_of_files_that_were_just_changed_is_not_remembered(observed, monkeypatch):
    file = observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    now = file.stat().st_ctime_ns + 1_000_000_000
    monkeypatch.setattr(states.time, "time_ns", lambda: now)
    compared = compared_files(monkeypatch)
    for _ in range(2):
        assert observed.compare(trace) == Findings(compared=1)
    assert len(compared) == 2


def test_a_comparison_counts_for_its_places_and_keys_alone(observed, tmp_path, monkeypatch, later):
    observed.write("rows.csv")
    trace = observed.read("rows.csv").trace()
    assert observed.compare(trace) == Findings(compared=1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "rows.csv").write_text("2")
    observed.places = replace(observed.places, project=other)
    assert observed.compare(trace).changed


def test_names_are_shown_on_one_line(observed):
    name = os.fsdecode(b"a\nb\xff.csv")
    observed.write(name)
    trace = observed.read(name).trace()
    assert observed.compare(trace) == Findings(compared=1)
    observed.write(name, "2")
    assert observed.compare(trace).changed == ("a\\nb\\udcff.csv, which has changed since",)


def test_rows_hold_the_state_of_everything(observed):
    for name in ("a.csv", "b.csv", "c.csv", "folder/x"):
        observed.write(name)
    observed.read("a.csv", "b.csv", "c.csv").listed("folder").mark("absent", "d.csv")
    trace = observed.trace(variables={"LEVEL": None}, peers={"db:5432"}, packages={"numpy": "2.1"})
    observed.write("b.csv", "2")
    (observed.folder / "c.csv").unlink()
    rows = observed.compare(trace, rows=True, packages_here=lambda name: "2.1").rows
    assert [(row.kind, row.name, row.state) for row in rows] == [
        ("file", "a.csv", "same"),
        ("file", "b.csv", "changed"),
        ("file", "c.csv", "missing"),
        ("folder", "folder", "same"),
        ("absent", "d.csv", "same"),
        ("variable", "LEVEL", "not compared"),
        ("package", "numpy", "same"),
        ("peer", "db:5432", "not compared"),
    ]
    assert {row.name for row in trace.listing()} == {row.name for row in rows}


def test_files_beyond_the_limit_are_asked_about(observed, monkeypatch):
    monkeypatch.setattr("mlflow_plugin.observation.tracing.MOST_FILES", 2)
    for number in range(5):
        observed.write(f"{number}.csv")
        observed.read(f"{number}.csv")
    trace = observed.trace()
    assert trace.file_count == 5
    assert observed.compare(trace).unclear == ("it read 5 files, of which only 2 are compared",)


def test_no_digest_is_shown(observed):
    observed.write("rows.csv")
    trace = observed.read("rows.csv").trace(variables={"LEVEL": variable_digest("1")})
    observed.write("rows.csv", "2")
    findings = observed.compare(trace, environ={}, rows=True)
    text = repr((findings.changed, findings.unclear, findings.mentions, findings.rows))
    assert variable_digest("1")[:8] not in text
    assert digests.read_digest(observed.folder / "rows.csv")[:8] not in text
