"""Files of a run come back as verified copies, or as read-only hard links where the phase says so."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_plugin.checkout import cache, placing, source, storing
from mlflow_plugin.checkout.cache import cache_folder
from mlflow_plugin.checkout.putting_back import look, make_writable
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.project_files import ProjectFiles
from mlflow_plugin.project import digests
from mlflow_plugin.project.digests import BYTES, signature_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store import artifacts, outputs
from mlflow_plugin.store.history import History
from mlflow_plugin.testing import SimulatedProject

MLPROJECT = """\
name: files
entry_points:
  prepare:
    parameters: {seed: {type: int, default: 0}}
    command: "python prepare.py --seed {seed}"
    phase: {outputs: [data]%s}
  train:
    command: "python train.py"
    phase: {needs: [prepare]}
"""


class Prepared:
    """A project whose phase leaves `data/all.csv` and `data/run.sh`, computed for the seeds 0 and 1; 1 lies there."""

    def __init__(self, folder: Path, uri: str, link: str) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "MLproject").write_text(MLPROJECT % link)
        for name in ("prepare", "train"):
            (folder / f"{name}.py").write_text("print(1)\n")
        self.simulated = SimulatedProject(folder, uri)
        self.runs = [self._compute(seed) for seed in (0, 1)]

    def _compute(self, seed: int) -> str:
        run_id, decision = self.simulated.start("prepare", seed=seed)
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        (self.folder / "data").mkdir()
        (self.folder / "data" / "all.csv").write_text(f"seed {seed}")
        (self.folder / "data" / "run.sh").write_text("echo")
        (self.folder / "data" / "run.sh").chmod(0o755)
        self.simulated.finish(run_id, decision, {}, {}, 1.0)
        return run_id

    @property
    def files(self) -> ProjectFiles:
        project = load_project(self.folder)
        return ProjectFiles(History(self.simulated.client, "0", project), project)

    def put_back(self, seed: int, *, force: bool = False) -> bool:
        files = self.files
        run = files.history.run(self.runs[seed])
        return files.restore(files.project.phase("prepare"), run, force=force)

    def text(self) -> str:
        return (self.folder / "data" / "all.csv").read_text()

    def stored(self, seed: int) -> Path:
        uri = self.simulated.client.get_run(self.runs[seed]).info.artifact_uri
        return Path(uri) / "project_files" / "data" / "all.csv"


@pytest.fixture
def prepared(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Prepared]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda link="": Prepared(tmp_path / "project", store, link)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the local store for a remote one."""
    for module in (artifacts, outputs, cache, source, storing):
        monkeypatch.setattr(module, "local_folder", lambda uri: None)


def edit(path: Path, text: str) -> None:
    """Write into a file, as a person does who has taken away its protection."""
    path.chmod(0o644)
    with open(path, "r+") as file:
        file.write(text)


def test_copies_are_independent_of_the_store_and_writable(prepared) -> None:
    made = prepared()
    assert made.put_back(0)
    file = made.folder / "data" / "all.csv"
    assert (made.text(), file.stat().st_nlink, file.stat().st_mode & 0o200) == ("seed 0", 1, 0o200)
    assert (made.folder / "data" / "run.sh").stat().st_mode & 0o100
    file.write_text("edited")
    assert made.stored(0).read_text() == "seed 0"
    assert not cache_folder().exists()


def test_hard_links_lead_to_read_only_files_that_are_not_those_of_the_store(prepared) -> None:
    made = prepared(", link: hard")
    shutil.rmtree(made.folder / "data")
    for seed in (0, 1, 0):
        assert made.put_back(seed)
        assert made.text() == f"seed {seed}"
    for name in ("all.csv", "run.sh"):
        status = (made.folder / "data" / name).stat()
        assert (status.st_nlink, status.st_mode & 0o222) == (2, 0)
    assert (made.folder / "data" / "run.sh").stat().st_mode & 0o111 == 0o111
    assert made.stored(0).stat().st_nlink == 1
    assert sorted(os.listdir(made.folder / "data")) == ["all.csv", "run.sh"]


def test_an_edit_through_a_hard_link_is_replaced_from_the_store_and_said(prepared, caplog) -> None:
    made = prepared(", link: hard")
    made.put_back(0)
    edit(made.folder / "data" / "all.csv", "SEED")
    assert not made.put_back(0)
    assert "was made or edited by hand" in caplog.text
    assert made.put_back(0, force=True)
    assert made.text() == "seed 0"
    assert "the cached copy of data/all.csv" in caplog.text
    assert "is replaced from the store" in caplog.text
    (aside,) = made.folder.glob(".mlflow-phases/aside/*/data/all.csv")
    assert aside.read_text() == "SEED 0"


def test_a_hard_link_is_read_again_before_a_phase_uses_it_whatever_is_remembered(prepared) -> None:
    made = prepared(", link: hard")
    made.put_back(1)
    file = made.folder / "data" / "all.csv"
    before = digests.file_digest(file)
    edit(file, "SEED")
    # A write through a memory map may leave all times as they were.
    digests._cache.keep(str(file), BYTES, signature_of(file.stat()), before)
    with made.files.in_place(made.simulated.decide("train")):
        assert made.text() == "seed 1"


def test_where_hard_links_are_refused_files_are_copied_and_it_is_said(prepared, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    made = prepared(", link: hard")
    monkeypatch.setattr(placing.os, "link", refuse)
    shutil.rmtree(made.folder / "data")
    assert made.put_back(0)
    file = made.folder / "data" / "all.csv"
    assert (made.text(), file.stat().st_nlink, file.stat().st_mode & 0o200) == ("seed 0", 1, 0o200)
    assert (made.folder / "data" / "run.sh").stat().st_mode & 0o100
    assert "2 of 2 files were copied" in caplog.text
    assert "XDG_CACHE_HOME" in caplog.text


def test_a_phase_that_goes_on_from_its_files_may_write_into_them(prepared) -> None:
    made = prepared(", link: hard")
    made.put_back(0)
    project = load_project(made.folder)
    make_writable(project, project.phase("prepare"))
    with open(made.folder / "data" / "all.csv", "a") as file:
        file.write(", more")
    (cached,) = [path for path in cache_folder().rglob("*") if path.is_file() and path.read_bytes() == b"seed 0"]
    assert cached.stat().st_nlink == 1


def test_what_was_just_put_back_is_not_read_again_and_a_write_to_it_is_seen(prepared, monkeypatch) -> None:
    made = prepared()
    shutil.rmtree(made.folder / "data")
    made.put_back(0)
    files = made.files
    phase, run = files.project.phase("prepare"), files.history.run(made.runs[0])
    with monkeypatch.context() as patched:
        patched.setattr(digests, "read_digest", lambda path: pytest.fail(f"{path} was read"))
        assert look(files.history, files.project, phase, run).standing.is_right
    (made.folder / "data" / "all.csv").write_text("seed 7")  # As many bytes, at once.
    assert look(files.history, files.project, phase, run).by_hand == ("data/all.csv",)


def test_damage_in_the_store_is_found_before_anything_is_put_back(prepared) -> None:
    made = prepared()
    made.stored(0).write_text("seed 9")
    with pytest.raises(PhaseError, match=r"all\.csv has other bytes than when it was stored"):
        made.put_back(0)
    assert made.text() == "seed 1"


def test_a_manifest_that_was_replaced_is_refused(prepared) -> None:
    made = prepared()
    manifest = made.stored(0).parents[2] / "outputs" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("data/all.csv", "data/evil.csv"))
    with pytest.raises(PhaseError, match="its manifest was replaced"):
        made.put_back(0)


def test_files_of_a_remote_store_come_from_the_cache_and_a_changed_one_is_fetched_again(
    prepared, remote, monkeypatch, caplog
) -> None:
    made, fetched = prepared(), []
    download = cache.download_artifact
    monkeypatch.setattr(
        cache, "download_artifact", lambda repository, name, to: (fetched.append(name), download(repository, name, to))
    )
    made.put_back(0)
    assert (made.text(), len(fetched)) == ("seed 0", 1)  # The other file lies there.
    made.put_back(1)
    made.put_back(0)
    assert (made.text(), len(fetched)) == ("seed 0", 2)
    made.put_back(1)
    for path in cache_folder().rglob("*"):
        if path.is_file():
            edit(path, "SEED")
    made.put_back(0)
    assert (made.text(), len(fetched)) == ("seed 0", 3)
    assert "was changed, and is replaced from the store" in caplog.text
    assert (made.folder / "data" / "all.csv").stat().st_mode & 0o200


def test_what_a_store_does_not_hold_as_it_was_sent_ends_the_run_incomplete(prepared, monkeypatch) -> None:
    def damaging(path: Path, stored: str, **_: object) -> int:
        moment = placing.place(path, stored)
        Path(stored).write_text("dees 0")
        return moment

    monkeypatch.setattr(storing, "place", damaging)
    with pytest.raises(PhaseError, match="does not hold it as it was sent"):
        prepared()
