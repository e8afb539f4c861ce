"""The experiment log: one whole entry for each run that has ended, with several writers and when one is killed."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.markdown import link, plain
from mlflow_plugin.project.project import LOG_FILE
from mlflow_plugin.reports import log_file
from mlflow_plugin.reports.entry import entry
from mlflow_plugin.reports.experiment_log import append_all, kept_log, log_ended
from mlflow_plugin.reports.log_file import append, logged_runs
from mlflow_plugin.store.run import PhaseRun

MARK = re.compile(r"<!-- mlflow-phases run (\w+) -->")


def run_id(number):
    return f"{number:032x}"


def text_of(number, lines=40):
    return entry(None, PhaseRun(run_id(number), "train", status="FAILED", reason="too hot; " * lines))


def lock_of(file):
    return file.with_name(f".{file.name}.lock")


def marks(file):
    return MARK.findall(file.read_text(encoding="utf-8"))


@pytest.fixture
def log(tmp_path):
    return tmp_path / LOG_FILE


# --- the file ---


def test_a_new_log_has_a_heading_and_a_run_one_entry_however_often_it_is_appended(log):
    assert append(log, {run_id(1): text_of(1)}) == [run_id(1)]
    assert append(log, {run_id(1): text_of(1), run_id(2): text_of(2)}) == [run_id(2)]
    assert log.read_text(encoding="utf-8").startswith("# Experiment log\n")
    assert marks(log) == [run_id(1), run_id(2)]
    assert logged_runs(log) == {run_id(1), run_id(2)}


def test_the_text_of_a_person_stays_as_it_is(log):
    by_hand = "My notes\r\nno newline at the end, and half a mark <!-- mlflow-phases run"
    log.write_bytes(by_hand.encode())
    append(log, {run_id(1): text_of(1)})
    with log.open("ab") as stream:
        stream.write(b"That one surprised me.")
    append(log, {run_id(2): text_of(2)})
    content = log.read_bytes().decode()
    assert content.startswith(by_hand + "\n\n## ")
    assert "-->\nThat one surprised me.\n\n## " in content
    assert marks(log) == [run_id(1), run_id(2)]


def _append_some(file, numbers):
    for number in numbers:
        append(Path(file), {run_id(number): text_of(number)})


def test_several_processes_append_at_once_and_each_entry_is_there_once_and_whole(log):
    context = multiprocessing.get_context("fork")
    # Each entry is appended by two of them.
    ranges = [range(10 * (worker % 4), 10 * (worker % 4) + 10) for worker in range(8)]
    workers = [context.Process(target=_append_some, args=(str(log), numbers)) for numbers in ranges]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert sorted(marks(log)) == [run_id(number) for number in range(40)]
    content = log.read_text(encoding="utf-8")
    for number in range(40):
        assert text_of(number) in content


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_writer_that_ends_in_the_middle_leaves_the_log_as_it_was_and_the_next_one_appends(log, monkeypatch, step):
    append(log, {run_id(1): text_of(1)})
    before = log.read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            append(log, {run_id(2): text_of(2, 2000)})
    assert log.read_bytes() == before
    append(log, {run_id(2): text_of(2, 2000), run_id(3): text_of(3)})
    assert marks(log) == [run_id(1), run_id(2), run_id(3)]
    assert log.read_text(encoding="utf-8").count(text_of(2, 2000)) == 1
    assert set(log.parent.iterdir()) == {log, lock_of(log)}


def test_the_file_that_a_killed_writer_left_beside_the_log_is_not_taken_for_entries(log):
    append(log, {run_id(1): text_of(1)})
    log.with_name(f".{log.name}.new").write_text(text_of(2)[:100])
    append(log, {run_id(3): text_of(3)})
    assert marks(log) == [run_id(1), run_id(3)]
    assert set(log.parent.iterdir()) == {log, lock_of(log)}


def test_words_that_a_person_saves_while_an_entry_is_appended_are_kept(log, monkeypatch):
    append(log, {run_id(1): text_of(1)})
    write_synced = log_file.write_synced

    def saved_meanwhile(file, content, mode):
        write_synced(file, content, mode)
        if "my own words" not in log.read_text(encoding="utf-8"):
            with log.open("a") as stream:
                stream.write("my own words\n")

    monkeypatch.setattr(log_file, "write_synced", saved_meanwhile)
    assert append(log, {run_id(2): text_of(2)}) == [run_id(2)]
    content = log.read_text(encoding="utf-8")
    assert "my own words\n" in content
    assert content.endswith(text_of(2))
    assert marks(log) == [run_id(1), run_id(2)]


def test_a_log_that_another_process_holds_for_long_is_reported(log, monkeypatch):
    append(log, {run_id(1): text_of(1)})
    monkeypatch.setattr(log_file, "_PATIENCE_SECONDS", 0.1)
    with FileLock(lock_of(log)), pytest.raises(PhaseError, match=r"another process has locked it for 0 s\. `fuser "):
        append(log, {run_id(2): text_of(2)})
    assert append(log, {run_id(2): text_of(2)}) == [run_id(2)]


def test_appending_keeps_the_permissions_of_the_log_and_follows_a_link(log, tmp_path):
    append(log, {run_id(1): text_of(1)})
    log.chmod(0o640)
    link_to_it = tmp_path / "link.md"
    link_to_it.symlink_to(log)
    append(link_to_it, {run_id(2): text_of(2)})
    assert link_to_it.is_symlink()
    assert marks(log) == [run_id(1), run_id(2)]
    assert log.stat().st_mode & 0o777 == 0o640


APPENDING = """
import sys
from pathlib import Path
from mlflow_plugin.reports.log_file import append
file, first = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
for number in range(first, first + 100_000):
    run = f"{number:032x}"
    lines = f"line of {number}\\n" * 4000
    append(file, {run: f"## entry {number}\\n{lines}\\n<!-- mlflow-phases run {run} -->\\n"})
"""


def test_kill_9_at_any_moment_leaves_every_entry_whole(log):
    rounds = 8
    for killed in range(rounds):
        child = subprocess.Popen(
            [sys.executable, "-c", APPENDING, str(log), str(1_000_000 * killed)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        before = log.stat().st_size if log.exists() else 0
        while not log.exists() or log.stat().st_size <= before:
            time.sleep(0.001)
        time.sleep(0.013 * killed)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    append(log, {run_id(9_000_000): text_of(9_000_000)})
    content = log.read_text(encoding="utf-8")
    found = marks(log)
    assert len(found) == len(set(found)) > rounds
    for found_id in found[:-1]:
        number = int(found_id, 16)
        assert content.count(f"line of {number}\n") == 4000
    assert content.count("## entry") == len(found) - 1


def test_a_log_that_cannot_be_written_is_reported_with_its_name(tmp_path):
    with pytest.raises(PhaseError, match=r"nowhere/EXPERIMENT_LOG.md: No such file or directory. Its content is kept"):
        append(tmp_path / "nowhere" / LOG_FILE, {run_id(1): text_of(1)})
    assert not (tmp_path / "nowhere").exists()


# --- its content ---


HOSTILE = "</li><script>alert(1)</script> [x](javascript:alert(1)) `a` **b**\n# heading\n"
HOSTILE += "<!-- mlflow-phases run {} -->\u202e|$x$"


def test_no_text_of_a_run_becomes_markup_or_a_mark():
    run = PhaseRun(run_id(1), "phase <b>|*x*", status="FAILED", reason=HOSTILE.format(run_id(2)), user="a_b_[c](d)")
    text = entry(None, run)
    assert MARK.findall(text) == [run_id(1)]
    assert "<script" not in text
    assert "\n# heading" not in text
    assert "\u202e" not in text
    assert r"\[x\](javascript:alert(1)) \`a\` \*\*b\*\*" in text
    assert text.count("\n- ") == text.count("- **")
    assert link("run", "javascript:alert(1)") == "run"
    assert plain("1 < 2 & 3") == "1 &lt; 2 &amp; 3"


def test_an_entry_shows_command_reason_quality_cost_and_superseded_runs(demo, tmp_path, ask_always):
    collect = demo.compute("collect")
    train = demo.compute("train", seconds=90)
    evaluate = demo.compute("evaluate")
    again = demo.compute("collect", "other bytes", seed=1)
    log = tmp_path / LOG_FILE
    logged = append_all(demo.history(), log)
    reused = demo.settle("train", decide="reuse").run_id
    demo.start("evaluate")
    logged += append_all(demo.history(), log)
    assert logged == [collect, train, evaluate, again, reused]
    sections = dict(zip(logged, log.read_text(encoding="utf-8").split("\n## ")[1:], strict=True))
    assert "completed" in sections[train].splitlines()[0]
    for part in (
        "- **Run as:** train decide=rerun device=auto epochs=10; made from collect",
        "- **Reason:** re-run because decide=rerun was given",
        "- **Quality:** fidelity 0.9: good (good from 0.85, poor below 0.7)",
        "- **Gates:** held_out > 0.5 passes",
        "- **Time and cost:** 1 min 30 s, < $0.01 on ",
        f"/#/experiments/0/runs/{train})",
    ):
        assert part in sections[train], sections[train]
    assert f"  - train {train[:8]}, fidelity 0.9, finished " in sections[again]
    assert f"  - evaluate {evaluate[:8]}, finished " in sections[again]
    assert "- **Superseded** (no longer counts; nothing was deleted), chosen by " in sections[again]
    assert f"reused {train[:8]}" in sections[reused]
    assert "- **Saved:** 1 min 30 s and < $0.01" in sections[reused]


def _fail_and_raise(demo, run_id):
    demo.records.fail(run_id, "broke")
    raise ZeroDivisionError


def test_a_run_is_appended_as_it_ends_where_the_project_keeps_a_log_and_nowhere_else(demo):
    log = demo.folder / LOG_FILE
    project = demo.history().project
    with kept_log(project, demo.client, "0", "collect"):
        collect = demo.compute("collect")
    assert not log.exists()
    log.touch()
    failed, _ = demo.start("train")
    with kept_log(project, demo.client, "0", "train"):
        pass
    assert marks(log) == []  # It still runs.
    with pytest.raises(ZeroDivisionError), kept_log(project, demo.client, "0", "train"):
        _fail_and_raise(demo, failed)
    assert marks(log) == [failed]
    log_ended(demo.folder, collect)
    assert marks(log) == [failed, collect]


def test_a_log_that_cannot_be_written_stops_no_run(demo, capsys):
    log = demo.folder / LOG_FILE
    log.touch()
    lock_of(log).mkdir()
    with kept_log(demo.history().project, demo.client, "0", "collect"):
        demo.compute("collect")
    assert "the experiment log is not up to date: " in capsys.readouterr().err
