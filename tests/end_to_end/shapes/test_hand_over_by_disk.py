"""Row 38: phases that hand over by files in the project get those of the run that counts."""

import shutil
import threading
import time

import pytest

from mlflow_plugin import find_reusable
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from tests.end_to_end.shapes.conftest import ByDisk
from tests.servers.process import wait_until

pytestmark = pytest.mark.end_to_end
MANY = """
from pathlib import Path

Path("data/processed").mkdir(parents=True, exist_ok=True)
for number in range(1000):
    Path(f"data/processed/{number}.csv").write_text("x" * 50_000)
"""
SLOW = """
import time
from pathlib import Path

Path("began").touch()
while not Path("go").exists():
    time.sleep(0.05)
"""
RESUMABLE = """
from pathlib import Path

from mlflow_plugin import start_phase

with start_phase() as phase:
    file = Path("data/processed/all.csv")
    file.parent.mkdir(parents=True, exist_ok=True)
    for step in phase.steps(2, {}, every=1):
        if step == 1 and not Path("again").exists():
            Path("again").touch()
            raise RuntimeError("stopped")
        file.write_text(file.read_text() + ", second half" if file.exists() else "first half")
"""
FIRST = "seed 0 ['all.csv', 'part-0.csv'] rate 0.1"


def test_parameters_there_and_back_again_evaluate_the_right_model(by_disk: ByDisk) -> None:
    by_disk.run()
    assert by_disk.evaluated() == FIRST
    assert by_disk.output_names("prepare") == [
        "project_files/data/processed/all.csv",
        "project_files/data/processed/part-0.csv",
    ]
    by_disk.run(seed=1)
    assert by_disk.evaluated() == "seed 1 ['all.csv', 'part-1.csv'] rate 0.1"
    by_disk.run()
    assert by_disk.verdicts() == dict.fromkeys(("prepare", "train", "evaluate"), "reuse")
    assert by_disk.evaluated() == FIRST
    assert by_disk.files() == {
        "data/processed/all.csv": "seed 0",
        "data/processed/part-0.csv": "part 0",
        "models/model.txt": FIRST,
    }
    by_disk.run(rate=0.2)
    assert by_disk.verdicts() == {"prepare": "reuse", "train": "run", "evaluate": "run"}
    assert by_disk.evaluated() == FIRST.replace("0.1", "0.2")


def test_another_runs_files_are_replaced_before_a_single_later_phase_reads_them(by_disk: ByDisk) -> None:
    by_disk.run()
    first = by_disk.store.runs("prepare")[0].info.run_id
    by_disk.run(seed=1)
    by_disk.run("train", prepare_run_id=first, rate=0.3)
    assert by_disk.files()["models/model.txt"] == FIRST.replace("0.1", "0.3")


def test_deleted_outputs_come_back_with_a_reuse_and_on_request(by_disk: ByDisk) -> None:
    by_disk.run()
    before = by_disk.files()
    shutil.rmtree(by_disk.folder / "data")
    by_disk.run("prepare")
    assert by_disk.files() == before
    shutil.rmtree(by_disk.folder / "models")
    (by_disk.folder / "data/processed/all.csv").unlink()
    done = by_disk.command("checkout")
    assert done.returncode == 0, done.stderr
    assert by_disk.files() == before


def test_looking_changes_no_file(by_disk: ByDisk) -> None:
    by_disk.run()
    shutil.rmtree(by_disk.folder / "data")
    for words in (("plan", "evaluate"), ("status",), ("explain", "train")):
        assert by_disk.command(*words).returncode == 0
    assert find_reusable(by_disk.folder, "train", client=by_disk.store.client).action == "reuse"
    assert list(by_disk.files()) == ["models/model.txt"]


def test_a_file_that_was_edited_by_hand_is_asked_about_and_moved_aside(by_disk: ByDisk) -> None:
    by_disk.run()
    (by_disk.folder / "data/processed/all.csv").write_text("by hand")
    (by_disk.folder / "data/processed/notes.txt").write_text("my notes")
    by_disk.run()
    assert by_disk.files()["data/processed/all.csv"] == "by hand"
    with pytest.raises(NeedsAnswer, match=r"all.csv, data/processed/notes.txt was made or edited by hand"):
        by_disk.run("train", rate=0.2)
    assert by_disk.files()["data/processed/all.csv"] == "by hand"
    by_disk.run("train", rate=0.2, decide="reuse")
    assert by_disk.files()["models/model.txt"] == FIRST.replace("0.1", "0.2")
    assert by_disk.aside() == ["by hand", "my notes"]


def test_checkout_leaves_what_was_made_by_hand_unless_it_is_forced(by_disk: ByDisk) -> None:
    by_disk.run()
    (by_disk.folder / "models/model.txt").write_text("by hand")
    refused = by_disk.command("checkout", "train")
    assert refused.returncode == 1
    assert "made or edited by hand" in refused.stderr
    assert by_disk.files()["models/model.txt"] == "by hand"
    assert by_disk.command("checkout", "train", "--force").returncode == 0
    assert by_disk.files()["models/model.txt"] == FIRST
    assert by_disk.aside() == ["by hand"]


def test_files_that_are_damaged_in_the_store_are_never_put_back(by_disk: ByDisk) -> None:
    by_disk.run()
    by_disk.stored(by_disk.store.runs("prepare")[0].info.run_id, "data/processed/all.csv").write_text("seed 9")
    (by_disk.folder / "data/processed/all.csv").unlink()
    with pytest.raises(PhaseError, match=r"all\.csv"):
        by_disk.run("train", rate=0.2)
    assert "data/processed/all.csv" not in by_disk.files()


def test_a_phase_that_leaves_nothing_under_its_declared_outputs_fails(by_disk: ByDisk) -> None:
    by_disk.declare("[data/processed, reports/*.html]")
    with pytest.raises(PhaseError, match=r"prepare declares the output 'reports/\*.html', and left nothing there"):
        by_disk.run("prepare")
    assert by_disk.store.runs("prepare")[0].info.status == "FAILED"


def test_without_outputs_a_later_phase_asks_before_it_computes_on_what_lies_there(by_disk: ByDisk) -> None:
    file = by_disk.folder / "MLproject"
    file.write_text(file.read_text().replace("phase: {outputs: [data/processed]}", "phase: {}"))
    by_disk.run("prepare")
    with pytest.raises(NeedsAnswer, match="logged nothing and declares no `outputs:`"):
        by_disk.run("train")
    by_disk.run("train", decide="reuse")
    by_disk.run("train")
    assert by_disk.tags("train")["phase.verdict"] == "reuse"
    file.write_text(file.read_text().replace("phase: {}\n", "phase: {outputs: []}\n", 1))
    by_disk.run("train", rate=0.2)
    assert by_disk.tags("train")["phase.verdict"] == "run"


def test_a_process_that_is_killed_while_it_puts_files_back_leaves_none_half_written(by_disk: ByDisk) -> None:
    by_disk.run("prepare")
    (by_disk.folder / "prepare.py").write_text(MANY)
    by_disk.run("prepare")
    shutil.rmtree(by_disk.folder / "data")
    process = by_disk.started("checkout", "prepare")
    wait_until(lambda: (by_disk.folder / "data").exists() and len(by_disk.files()) > 20, "files are put back")
    process.kill()
    process.wait()
    found = {name: text for name, text in by_disk.files().items() if "/.mlflow-phases-" not in name}
    assert found
    assert all(text == "x" * 50_000 for text in found.values())
    assert by_disk.command("checkout", "prepare").returncode == 0
    assert len(by_disk.files()) == 1000
    assert all(text == "x" * 50_000 for text in by_disk.files().values())


def test_a_phase_waits_until_another_one_no_longer_reads_the_files_that_it_must_replace(by_disk: ByDisk) -> None:
    by_disk.run()
    first = by_disk.store.runs("prepare")[0].info.run_id
    by_disk.run("prepare", seed=1)
    (by_disk.folder / "train.py").write_text(SLOW + (by_disk.folder / "train.py").read_text())
    reading = threading.Thread(target=by_disk.run, args=("train",))
    reading.start()
    wait_until((by_disk.folder / "began").exists, "the first reads")
    waiting = threading.Thread(target=by_disk.run, args=("train",), kwargs={"prepare_run_id": first, "rate": 0.5})
    waiting.start()
    time.sleep(1)
    assert by_disk.files()["data/processed/all.csv"] == "seed 1"
    (by_disk.folder / "go").touch()
    reading.join()
    waiting.join()
    results = {
        by_disk.stored(run.info.run_id, "models/model.txt").read_text()
        for run in by_disk.store.runs("train")
        if run.data.tags["phase.verdict"] == "run"
    }
    assert {"seed 1 ['all.csv', 'part-1.csv'] rate 0.1", FIRST.replace("0.1", "0.5")} <= results


def test_after_a_run_beside_the_files_of_the_latest_are_back(by_disk: ByDisk) -> None:
    by_disk.run()
    by_disk.run("train", rate=0.7, decide="beside")
    assert by_disk.files()["models/model.txt"] == FIRST


def test_a_phase_that_resumes_finds_what_it_had_left(by_disk: ByDisk) -> None:
    (by_disk.folder / "prepare.py").write_text(RESUMABLE)
    with pytest.raises(PhaseError):
        by_disk.run("prepare")
    by_disk.run("prepare")
    assert by_disk.tags("prepare")["phase.verdict"] == "resume"
    assert by_disk.files() == {"data/processed/all.csv": "first half, second half"}
