"""The table of readers in the documentation says what is seen of each reader in each way."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_plugin.observation import recorder
from mlflow_plugin.observation.notification import unavailable
from mlflow_plugin.observation.recorder import Recorder
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.shim import Shim, shim

HERE = Path(__file__).parent
DOCUMENTATION = HERE.parents[2] / "docs" / "observed_inputs.md"
WAYS = ("shim", "notification", "hook")
sys.path.insert(0, str(HERE))
from readers import EVERYTHING, READERS  # noqa: E402


def table() -> dict[str, dict[str, bool]]:
    """Return what the documentation says: reader -> way -> whether it is seen."""
    lines = [line for line in DOCUMENTATION.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {
        row[0]: {way: cell.startswith("yes") for way, cell in zip(WAYS, row[1:], strict=True)}
        for row in cells
        if len(row) == 4 and row[0] in EVERYTHING
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Return a folder with a file for each reader, and the readers that cannot be tried here."""
    folder = tmp_path_factory.mktemp("readers")
    return folder, run("make", folder, dict(os.environ), [])


def run(part: str, folder: Path, environment: dict[str, str], failed: list[str]) -> list[str]:
    """Run one part of every reader in one process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "readers.py"), part, *failed],
        cwd=folder,
        env={**environment, "HF_HOME": str(folder.parent / "hub")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def is_seen(seen: Recording, name: str, folder: Path) -> bool:
    path = str(folder / EVERYTHING[name].file)
    return path in seen.read if name in READERS else path in seen.listed or path in seen.absent


@pytest.mark.parametrize("way", WAYS)
def test_each_reader_is_seen_as_documented(
    way: str, data: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "shim" and shim().path is None:
        pytest.skip(f"no shim here: {shim().reason}")
    if way == "notification" and unavailable():
        pytest.skip(unavailable())
    if way != "shim":
        monkeypatch.setattr(recorder, "shim", lambda: Shim(None, "no compiler"))
    if way == "hook":
        monkeypatch.setattr(recorder, "unavailable", lambda: "no kernel")
    made, unmade = data
    folder, records = tmp_path / "project", tmp_path / "records"
    shutil.copytree(made, folder)
    records.mkdir()
    recording = Recorder(records, own=[str(folder)], skip=[])
    failed = run("read", folder, {**os.environ, **recording.variables(os.environ)}, unmade)
    seen = recording.recording()
    assert failed == unmade
    documented = table()
    found = {name: is_seen(seen, name, folder) for name in EVERYTHING if name not in failed}
    assert {name: is_seen for name, is_seen in found.items() if documented[name][way] is not is_seen} == {}


def test_the_table_names_every_reader_that_is_tried() -> None:
    assert set(table()) == set(EVERYTHING)
