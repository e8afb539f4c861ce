import os
import sys
import time

import pytest

from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.observation.policy import Policy
from mlflow_plugin.observation.recording import Opening, Recording
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.observation.tracing import MOST_ABSENT, trace_of
from mlflow_plugin.project import digests
from tests.unit.observation.observing import SECOND, opening_of


def names_of(trace: Trace) -> list[str]:
    return sorted(file.name for file in trace.files)


# --- changed while it was read ---


@pytest.mark.parametrize("content", ["2", "longer"])
def test_a_file_that_changes_after_its_opening_was_changed_while_read(observed, content):
    observed.write("rows.csv")
    observed.read("rows.csv")
    observed.write("rows.csv", content)
    trace = observed.trace()
    assert (names_of(trace), trace.changed_while_read) == ([], ("rows.csv",))
    assert observed.compare(trace).changed == ("rows.csv, which changed while it was read",)


def test_a_file_that_changes_while_it_is_digested_was_changed_while_read(observed, monkeypatch):
    file = observed.write("rows.csv")
    read = digests.read_digest

    def change(path):
        digest = read(path)
        file.write_text("22")
        return digest

    monkeypatch.setattr(digests, "read_digest", change)
    assert observed.read("rows.csv").trace().changed_while_read == ("rows.csv",)


def test_a_file_that_was_changed_within_the_clocks_grain_before_its_opening_is_not_trusted(observed):
    file = observed.write("rows.csv")
    opening = opening_of(file)
    for opened_ns, kept in ((opening.ctime_ns + 1_000_000, False), (opening.ctime_ns + 20_000_000, True)):
        observed.seen = {"read": {str(file): opening._replace(opened_ns=opened_ns)}}
        assert names_of(observed.trace()) == (["rows.csv"] if kept else [])


def test_a_time_of_modification_in_the_future_is_no_change(observed):
    file = observed.write("rows.csv")
    os.utime(file, (time.time() + 10_000, time.time() + 10_000))
    assert names_of(observed.read("rows.csv").trace()) == ["rows.csv"]


def test_a_touched_file_whose_digest_was_known_is_what_was_read(observed, monkeypatch):
    file = observed.write("rows.csv")
    later = time.time_ns() + 10 * SECOND
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    digests.file_digest(file)
    observed.read("rows.csv")
    os.utime(file, (1, 1))
    assert names_of(observed.trace()) == ["rows.csv"]


# --- files that the run changes ---


def test_a_file_that_the_run_reads_and_changes_may_be_as_it_left_it(observed):
    observed.write("notebook.ipynb", "{}")
    observed.read("notebook.ipynb").mark("written", "notebook.ipynb")
    observed.write("notebook.ipynb", "{1}")
    trace = observed.trace()
    assert observed.compare(trace) == Findings(compared=1)
    observed.write("notebook.ipynb", "{2}")
    assert observed.compare(trace).changed == ("notebook.ipynb, which has changed since",)


def test_a_file_that_the_run_reads_and_changes_may_be_as_it_was_before(observed, monkeypatch):
    file = observed.write("notebook.ipynb", "{}")
    later = time.time_ns() + 10 * SECOND
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    digests.file_digest(file)
    observed.read("notebook.ipynb").mark("written", "notebook.ipynb")
    observed.write("notebook.ipynb", "{1}")
    trace = observed.trace()
    observed.write("notebook.ipynb", "{}")
    assert observed.compare(trace) == Findings(compared=1)


def test_a_file_that_the_run_removes_after_reading_it_may_be_gone(observed):
    file = observed.write("queue/1.json")
    observed.read("queue/1.json").mark("written", "queue/1.json")
    file.unlink()
    trace = observed.trace()
    assert observed.compare(trace) == Findings(compared=1)
    observed.write("queue/1.json", "another")
    assert observed.compare(trace).changed == ("queue/1.json, which has changed since",)


def test_a_file_that_another_process_removes_was_changed_while_read(observed):
    observed.write("rows.csv")
    observed.read("rows.csv")
    (observed.folder / "rows.csv").unlink()
    assert observed.trace().changed_while_read == ("rows.csv",)


def test_a_uri_that_a_library_takes_for_a_path_is_no_absent_file(observed):
    observed.mark("absent", "runs:/0ddba11/data", "s3:/bucket/rows.csv", "config.local.yaml")
    assert observed.trace().absent == ("config.local.yaml",)


def test_a_name_that_packages_look_for_on_their_own_account_does_not_count(observed):
    observed.mark("absent", "HEAD", "uv.lock", "space.pkg", "config.local.yaml", "conf/uv.lock.yaml")
    assert observed.trace().absent == ("conf/uv.lock.yaml", "config.local.yaml")


def test_a_file_that_appears_during_the_run_was_not_absent(observed):
    observed.mark("absent", "cache.bin", "beside.bin", "made", "config.local.yaml")
    observed.mark("written", "cache/cache.tmp", "cache.bin")
    for name in ("cache.bin", "made/x", "conf/config.local.yaml"):
        observed.write(name)
    observed.mark("written", "made/x").mark("absent", "conf/config.local.yaml")
    trace = observed.trace()
    assert trace.absent == ("beside.bin", "config.local.yaml")
    assert trace.changed_while_read == ("conf/config.local.yaml",)


# --- Python files ---


def test_imported_files_count_by_their_syntax_tree_and_those_read_as_text_by_their_bytes(observed):
    observed.write("helper.py", "a = 1")
    observed.write("other.py", "a = 1")
    observed.mark("modules", "helper.py", "other.py").read("other.py").mark("text", "other.py")
    trace = observed.trace()
    for name in ("helper.py", "other.py"):
        observed.write(name, "a = 1  # one")
    assert observed.compare(trace).changed == ("other.py, which has changed since",)
    observed.write("helper.py", "a = 2")
    assert "helper.py, which has changed since" in observed.compare(trace).changed


@pytest.mark.parametrize("name", ["__pycache__/helper.cpython-311.pyc", "__pycache__/helper.cpython-311.opt-1.pyc"])
def test_compiled_files_stand_for_their_source(observed, name):
    observed.write("lib/helper.py", "a = 1")
    observed.write(f"lib/{name}")
    observed.read(f"lib/{name}")
    trace = observed.trace()
    assert [(file.name, file.python) for file in trace.files] == [("lib/helper.py", True)]


def test_files_of_the_code_digest_count_once_unless_they_are_read_as_text(observed):
    for name in ("a.py", "b.py", "run.sh"):
        observed.write(name, "a = 1")
        observed.read(name)
    observed.mark("text", "b.py")
    observed.policy = Policy(code_files=frozenset(str(observed.folder / name) for name in ("a.py", "b.py", "run.sh")))
    assert names_of(observed.trace()) == ["b.py"]


def test_a_module_that_was_changed_since_the_run_began_is_not_trusted(observed):
    module = observed.write("helper.py", "a = 1")
    observed.mark("modules", "helper.py")
    recording = Recording("full", **observed.seen)
    for started_ns, kept in ((module.stat().st_ctime_ns + SECOND, True), (module.stat().st_ctime_ns - SECOND, False)):
        trace = trace_of(recording, observed.policy, observed.places, run_started_ns=started_ns)
        assert (names_of(trace), trace.changed_while_read) == ((["helper.py"], ()) if kept else ([], ("helper.py",)))


def test_a_module_in_an_archive_counts_as_the_archive(observed):
    observed.write("lib.zip", "PK")
    assert names_of(observed.mark("modules", "lib.zip/helper.py").trace()) == ["lib.zip"]


# --- what is not recorded ---


def test_what_is_not_recorded(observed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    environment = tmp_path / "conda"
    unrecorded = [
        environment / "lib" / "python3.11" / "json" / "decoder.py",
        environment / "share" / "data.json",
        observed.folder / ".venv" / "lib" / "python3.11" / "site-packages" / "numpy" / "x.py",
        observed.folder / ".git" / "HEAD",
        observed.folder / "mlruns" / "0" / "meta.yaml",
        observed.folder / "mlflow.db-wal",
        observed.folder / "EXPERIMENT_LOG.md",
        observed.folder / "MLproject",
        observed.folder / "project.egg-info" / "PKG-INFO",
        observed.folder / "node_modules" / "x.js",
        observed.folder / "logs" / "deep" / "a.log",
        observed.folder / "deep" / "b.lock",
        tmp_path / "store" / "meta.yaml",
        tmp_path / "store.db",
        tmp_path / "store.db-wal",
        tmp_path / "cache" / "torch" / "x.pt",
        tmp_path / "home" / ".netrc",
        tmp_path / "home" / ".config" / "mlflow" / "telemetry.json",
        tmp_path / "configuration" / "mlflow" / "telemetry.json",
        tmp_path / "home" / ".aws" / "credentials",
        tmp_path / "private" / "x",
    ]
    recorded = ["a.csv", ".env", ".hidden/b.csv", "store/c.csv", "logs.csv"]
    for path in (*unrecorded, *recorded):
        observed.write(path)
        observed.read(path)
    observed.read(sys.executable, os.__file__, "/etc/passwd")
    observed.policy = Policy(
        skip=(str(tmp_path / "store"), str(tmp_path / "store.db"), str(tmp_path)),
        ignore_reads=("logs/**", "*.lock", str(tmp_path / "pri*") + "/**"),
    )
    observed.mark("absent", "/usr/lib/x.so", "__pycache__/x.pyc", tmp_path / "store" / "none")
    trace = observed.trace()
    assert names_of(trace) == sorted(recorded)
    assert not trace.absent


def test_only_the_users_own_folders_count_under_observe_project(observed, tmp_path):
    paths = [observed.folder / "a.csv", observed.folder.parent / "b.csv", tmp_path / "data" / "c.csv"]
    for path in (*paths, tmp_path / "elsewhere" / "d.csv"):
        observed.write(path)
        observed.read(path)
    observed.policy = Policy(observe="project")
    assert names_of(observed.trace()) == ["../b.csv", "a.csv", "root data: c.csv"]
    observed.policy = Policy(observe="none")
    assert observed.trace() == Trace("none")


def test_temporary_files_that_are_gone_do_not_count(observed, tmp_path):
    scratch = observed.write(tmp_path / "scratch" / "x")
    observed.read(scratch).mark("absent", tmp_path / "scratch" / "y").listed(scratch.parent)
    scratch.unlink()
    scratch.parent.rmdir()
    trace = observed.trace()
    assert trace == Trace("full")


def test_special_files_are_named_and_asked_about(observed):
    os.mkfifo(observed.folder / "pipe")
    observed.seen["read"] = {str(observed.folder / "pipe"): Opening(0, 1, 1, 1, 2)}
    trace = observed.trace()
    assert observed.compare(trace).unclear == ("pipe is not a regular file, so it cannot be compared",)


def test_the_nearest_paths_that_were_not_there_are_kept(observed):
    observed.mark("absent", *(f"a/b/c/{number}" for number in range(MOST_ABSENT)), "near.yaml")
    absent = observed.trace().absent
    assert len(absent) == MOST_ABSENT
    assert "near.yaml" in absent


def test_the_environment_of_launchers_and_shells_does_not_count(observed):
    variables = {"LEVEL": "1", "SLURM_JOB_ID": "1", "MLFLOW_TRACKING_URI": "1", "HOME": "1", "LOCAL_RANK": "1"}
    assert dict(observed.trace(variables=variables).variables) == {"LEVEL": "1"}


# --- folders ---


def test_entries_that_the_run_made_in_a_listed_folder_do_not_count(observed):
    observed.write("data/1.csv")
    observed.listed("data")
    observed.write("data/out.csv")
    observed.write("data/made/deep/x.csv")
    observed.mark("written", "data/out.csv", "data/made/deep/x.csv")
    trace = observed.trace()
    assert observed.compare(trace) == Findings()
    (observed.folder / "data/out.csv").unlink()
    assert observed.compare(trace) == Findings()
    observed.write("data/2.csv")
    assert observed.compare(trace).changed == ("data, where 2.csv is new",)


def test_a_folder_that_the_run_made_does_not_count(observed):
    observed.write("out/result.txt")
    assert observed.listed("out").mark("written", "out/result.txt").trace().folders == ()


def test_a_folder_in_which_another_process_made_a_file_was_changed_while_read(observed):
    observed.write("data/1.csv")
    observed.listed("data")
    observed.write("data/2.csv")
    os.utime(observed.folder / "data", (1, 1))
    trace = observed.trace()
    assert (trace.folders, trace.changed_while_read) == ((), ("data",))


def test_a_tracking_store_in_a_listed_folder_changes_nothing(observed):
    observed.write("rows.csv")
    observed.listed(".")
    observed.write("mlflow.db")
    os.utime(observed.folder, (1, 1))
    assert [(folder.name, folder.names) for folder in observed.trace().folders] == [(".", ("rows.csv",))]


def test_a_folder_of_many_names_keeps_their_digest(observed, monkeypatch):
    monkeypatch.setattr("mlflow_plugin.observation.listings.MOST_NAMES", 2)
    for number in range(3):
        observed.write(f"data/{number}.csv")
    trace = observed.listed("data").trace()
    assert trace.folders[0].names is None
    observed.write("data/3.csv")
    assert observed.compare(trace).changed == ("data, which held 3 names and holds 4 now",)


def test_paths_are_recorded_in_their_plain_form(observed, tmp_path):
    observed.write("data/rows.csv")
    link = tmp_path / "link"
    link.symlink_to(observed.folder)
    opening = opening_of(observed.folder / "data/rows.csv")
    paths = (f"{observed.folder}/./data//rows.csv", f"{observed.folder}/data/../data/rows.csv", f"{link}/data/rows.csv")
    observed.seen["read"] = dict.fromkeys(paths, opening)
    assert names_of(observed.trace()) == ["data/rows.csv"]
