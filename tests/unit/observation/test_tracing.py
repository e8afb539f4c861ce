import os
import shutil
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


def test_a_file_that_was_made_because_it_was_not_there_may_be_as_the_run_left_it_or_gone(observed):
    file = observed.write("cache.csv")
    trace = observed.mark("filled", "cache.csv").mark("written", "cache.csv").trace()
    assert observed.compare(trace) == Findings(compared=1)
    file.unlink()
    assert observed.compare(trace) == Findings(compared=1)
    observed.write("cache.csv", "99")
    assert observed.compare(trace).changed == ("cache.csv, which has changed since",)


def test_a_log_of_a_database_that_was_not_there_may_be_empty(observed):
    trace = observed.mark("filled", "rows.db-wal").mark("written", "rows.db-wal").mark("absent", "more.db-wal").trace()
    for content, changed in (("", 0), ("1", 2)):
        observed.write("rows.db-wal", content)
        observed.write("more.db-wal", content)
        assert len(observed.compare(trace).changed) == changed


def test_the_shared_memory_of_a_database_does_not_count(observed):
    for name in ("rows.db", "rows.db-shm", "other-shm"):
        observed.write(name)
    assert names_of(observed.read("rows.db", "rows.db-shm", "other-shm").trace()) == ["other-shm", "rows.db"]


def test_an_input_that_the_run_removes_may_be_gone_and_no_other_may_be_there(observed, tmp_path):
    for name, began_ns in (("queue/1.json", 0), (tmp_path / "scratch" / "1.json", time.time_ns() + SECOND)):
        observed.seen.clear()
        file = observed.write(name)
        observed.read(name).mark("removed", name)
        file.unlink()
        trace = observed.trace(began_ns=began_ns)
        assert observed.compare(trace) == Findings(compared=1)
        observed.write(name, "another")
        assert len(observed.compare(trace).changed) == 1


def test_a_folder_that_the_run_empties_may_stay_empty(observed):
    for name in ("queue/1.json", "queue/kept.json"):
        observed.write(name)
        observed.read(name)
    observed.listed("queue").mark("removed", "queue/1.json")
    (observed.folder / "queue/1.json").unlink()
    os.utime(observed.folder / "queue", (1, 1))
    trace = observed.trace()
    assert observed.compare(trace) == Findings(compared=2)
    observed.write("queue/2.json")
    assert observed.compare(trace).changed == ("queue, where 2.json is new",)


def test_a_folder_that_the_run_moves_away_may_be_gone_or_hold_what_it_held(observed):
    observed.write("inbox/a")
    observed.read("inbox/a").listed("inbox")
    (observed.folder / "inbox").rename(observed.folder / "work")
    moved = {str(observed.folder / "inbox"): str(observed.folder / "work")}
    trace = observed.trace(moved=moved, folders={str(observed.folder / "work")})
    assert observed.compare(trace) == Findings(compared=1)
    observed.write("inbox/a")
    assert observed.compare(trace) == Findings(compared=1)
    observed.write("inbox/a", "2")
    assert observed.compare(trace).changed == ("inbox/a, which has changed since",)
    observed.write("inbox/a")
    observed.write("inbox/b")
    assert observed.compare(trace).changed == ("inbox, where b is new",)


def test_a_link_that_a_path_went_up_behind_counts_by_where_it_leads(observed):
    link = observed.folder / "now"
    link.symlink_to("v1/x")
    trace = observed.trace(links={str(link): "v1/x"})
    assert observed.compare(trace) == Findings()
    link.unlink()
    link.symlink_to("v2/x")
    assert observed.compare(trace).changed == ("now, which leads elsewhere now",)


def test_a_link_that_leads_nowhere_is_not_there(observed):
    (observed.folder / "local.yaml").symlink_to("elsewhere.yaml")
    trace = observed.mark("absent", "local.yaml").trace()
    assert trace.absent == ("local.yaml",)
    assert observed.compare(trace) == Findings()
    observed.write("elsewhere.yaml")
    assert observed.compare(trace).changed == ("local.yaml, which was not there then",)


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


def test_a_folder_that_holds_the_runs_own_files_alone_counts_without_them(observed):
    observed.write("out/mine.txt")
    observed.listed("out").mark("written", "out/mine.txt")
    trace = observed.trace()
    assert observed.compare(trace) == Findings()
    (observed.folder / "out/mine.txt").unlink()
    assert observed.compare(trace) == Findings()
    observed.write("out/other.txt")
    assert observed.compare(trace).changed == ("out, where other.txt is new",)


def test_a_folder_of_many_own_files_may_be_gone(observed, monkeypatch):
    monkeypatch.setattr("mlflow_plugin.observation.listings._MOST_ENTRIES", 2)
    observed.write("data/1.csv")
    observed.listed("data")
    for number in range(9):
        observed.write(f"data/own/{number}")
        observed.mark("written", f"data/own/{number}")
    trace = observed.trace()
    shutil.rmtree(observed.folder / "data/own")
    assert observed.compare(trace) == Findings()


def test_a_folder_listed_through_a_link_counts_as_the_one_that_it_leads_to_then(observed):
    observed.write("v1/a")
    observed.write("v2/a")
    observed.write("v2/b")
    (observed.folder / "data").symlink_to("v1")
    observed.listed("data").mark("written", "v1/own")
    observed.write("v1/own")
    trace = observed.trace()
    assert trace.folders[0].own == ("own",)
    assert observed.compare(trace) == Findings()
    (observed.folder / "data").unlink()
    (observed.folder / "data").symlink_to("v2")
    assert observed.compare(trace).changed == ("data, where b is new",)


def test_a_folder_in_which_another_process_made_a_file_was_changed_while_read(observed):
    observed.write("data/1.csv")
    observed.listed("data")
    observed.write("data/2.csv")
    os.utime(observed.folder / "data", (1, 1))
    trace = observed.trace()
    assert (trace.folders, trace.changed_while_read) == ((), ("data",))


@pytest.mark.parametrize("stays", [True, False])
def test_a_swap_file_of_an_editor_beside_a_listed_file_changes_nothing(observed, stays):
    observed.write("data/1.csv")
    observed.listed("data")
    swap = observed.write("data/.1.csv.swp")
    if not stays:
        swap.unlink()
    os.utime(observed.folder / "data", (1, 1))
    trace = observed.trace()
    assert trace.folders[0].names == ("1.csv",)
    swap.unlink(missing_ok=True)
    assert observed.compare(trace) == Findings()


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


def looked(observed, **sizes: int):
    observed.seen.setdefault("looked", {}).update({str(observed.folder / name): size for name, size in sizes.items()})
    return observed


def test_the_size_of_a_file_that_was_only_looked_at_counts(observed):
    observed.write("model", "12345")
    trace = looked(observed, model=5).trace()
    assert observed.compare(trace).changed == ()
    observed.write("model", "54321")
    assert observed.compare(trace).changed == ()
    observed.write("model", "1")
    assert observed.compare(trace).changed == ("model, which has another size now",)


@pytest.mark.parametrize("name", ["flag", "folder"])
def test_a_path_that_was_looked_for_and_found_counts_by_being_there(observed, name):
    observed.write("flag", "1")
    (observed.folder / "folder").mkdir()
    trace = looked(observed, **{name: -1}).trace()
    observed.write("flag", "another size")
    assert observed.compare(trace).changed == ()
    (observed.folder / "flag").unlink()
    (observed.folder / "folder").rmdir()
    assert observed.compare(trace).changed == (f"{name}, which is gone",)


def test_looks_count_only_where_nothing_else_says_the_same(observed):
    for name in ("read.csv", "made.csv", "grown.log", "listed/a", "out/kept", "module.py"):
        observed.write(name, "1")
    observed.read("read.csv").listed("listed").mark("written", "made.csv").mark("kept", "out")
    names = ["read.csv", "made.csv", "listed/a", "listed", "out", "module.py", ""]
    trace = looked(observed, **dict.fromkeys(names, -1), **{"grown.log": 9, "gone": 1}).trace()
    # A file that grew meanwhile counts by being there alone, and comments are no change of a module.
    assert (trace.there, dict(trace.sizes)) == (("grown.log", "module.py"), {})


def test_looks_at_what_the_run_took_away_do_not_count(observed):
    observed.seen["moved"] = {str(observed.folder / "inbox"): str(observed.folder / "work")}
    observed.mark("removed", "flag", "old/a")
    trace = looked(observed, flag=1, inbox=-1, old=-1, **{"old/a": 1}).trace()
    assert (trace.there, dict(trace.sizes)) == ((), {})


def test_a_link_that_a_path_went_up_behind_counts_also_where_it_leads_out_of_the_project(observed, tmp_path):
    link = observed.folder / "data"
    link.symlink_to(tmp_path)
    (tmp_path / "rows").write_text("1")
    observed.read("data/rows")
    for kind in ("links", "asked_links"):
        observed.seen[kind] = {str(link): str(tmp_path)}
    assert observed.trace().links == {"data": str(tmp_path)}


def test_a_folder_in_the_place_of_a_link_is_a_change(observed):
    link = observed.folder / "current"
    link.symlink_to("v1")
    trace = observed.trace(links={str(link): "v1"})
    link.unlink()
    link.mkdir()
    assert observed.compare(trace).changed == ("current, which leads elsewhere now",)


def test_the_target_of_a_link_counts_where_it_was_asked_for(observed):
    link = observed.folder / "current"
    link.symlink_to("v1")
    observed.seen["asked_links"] = {str(link): "v1"}
    trace = observed.trace()
    assert observed.compare(trace).changed == ()
    link.unlink()
    link.symlink_to("v2")
    assert observed.compare(trace).changed == ("current, which leads elsewhere now",)


@pytest.mark.parametrize(("opened", "counts"), [("data/rows", False), ("elsewhere/rows", True), (None, True)])
def test_a_link_out_of_the_project_counts_unless_what_was_read_is_compared_by_its_way(
    observed, tmp_path, opened, counts
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rows").write_text("1")
    (observed.folder / "data").symlink_to(elsewhere)
    observed.seen["asked_links"] = {str(observed.folder / "data"): str(elsewhere)}
    if opened:
        observed.read(tmp_path / opened if opened.startswith("elsewhere") else opened)
    assert dict(observed.trace().links) == ({"data": str(elsewhere)} if counts else {})


def test_a_folder_that_holds_the_store_says_nothing_by_being_there(observed, tmp_path):
    artifacts = observed.folder / "store" / "0" / "run"
    artifacts.mkdir(parents=True)
    observed.policy = Policy(skip=(str(artifacts),))
    trace = looked(observed, **{"store/0": -1, "store": -1, "flag": 1}).trace()
    assert (trace.there, dict(trace.sizes)) == ((), {})
    observed.write("flag")
    assert looked(observed, flag=1).trace().sizes == {"flag": 1}


def test_a_link_that_leads_nowhere_is_not_there_until_its_target_is(observed):
    (observed.folder / "link").symlink_to("nowhere")
    trace = observed.mark("absent", "link").trace()
    assert (trace.absent, trace.changed_while_read) == (("link",), ())
    assert observed.compare(trace).changed == ()
    observed.write("nowhere")
    assert observed.compare(trace).changed == ("link, which was not there then",)


def test_a_link_that_appears_is_there_wherever_it_leads(observed):
    trace = observed.mark("absent", "link").trace()
    (observed.folder / "link").symlink_to("nowhere")
    assert observed.compare(trace).changed == ("link, which was not there then",)


def test_paths_outside_the_project_that_were_not_there_count_unless_programs_are_searched_there(
    observed, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(elsewhere / "bin"))
    trace = observed.mark("absent", elsewhere / "app.yaml", elsewhere / "bin" / "git").trace()
    assert trace.absent == (str(elsewhere / "app.yaml"),)
    (elsewhere / "app.yaml").write_text("1")
    assert len(observed.compare(trace).changed) == 1
    unasked = observed.compare(trace, trusted=False)
    assert (unasked.changed, unasked.unclear, unasked.complete) == ((), (), False)


def test_looks_beyond_the_limit_are_asked_about(observed, monkeypatch):
    monkeypatch.setattr("mlflow_plugin.observation.tracing.MOST_ABSENT", 1)
    trace = observed.mark("absent", "a.yaml", "b.yaml").trace()
    assert observed.compare(trace).unclear == ("it looked for 1 path more than are compared",)


@pytest.mark.parametrize(
    ("text", "by_bytes"),
    [("VALUE = 1\n", False), ('"""Text."""\nprint(__doc__)\n', True), ("import docopt\n", True)],
)
def test_a_module_loaded_at_run_time_counts_by_its_bytes_where_its_docstrings_are_read(observed, text, by_bytes):
    observed.write("plugin.py", text)
    trace = observed.read("plugin.py").mark("modules", "plugin.py").trace()
    assert [file.python for file in trace.files] == [not by_bytes]


def test_a_module_loaded_at_run_time_counts_by_its_bytes_where_other_code_reads_docstrings(observed):
    observed.write("plugin.py", "VALUE = 1\n")
    script = observed.write("main.py", "import importlib\nprint(importlib.import_module('plu' + 'gin').__doc__)\n")
    observed.policy = Policy(code_files=frozenset([str(script)]))
    trace = observed.read("plugin.py").mark("modules", "plugin.py").trace()
    assert [file.python for file in trace.files] == [False]
