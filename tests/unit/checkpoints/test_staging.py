"""Temporary folders for remote stores: gone when done, and what a killed process left is removed by the next."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlflow_plugin.checkpoints.staging import temporary_folder

HOLD = """import sys, time
from mlflow_plugin.checkpoints.staging import temporary_folder
with temporary_folder() as folder:
    (folder / "tensors").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_nothing_is_left_of_one_that_was_closed(tmp_path: Path) -> None:
    with temporary_folder() as folder:
        (folder / "tensors").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_stays(tmp_path: Path) -> None:
    holding = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert holding.stdout is not None
        used = Path(holding.stdout.readline().strip())
        with temporary_folder():
            assert (used / "tensors").exists()
        os.kill(holding.pid, signal.SIGKILL)
        holding.wait(30)
        assert used.exists()
        with temporary_folder():
            assert not used.exists()
    finally:
        holding.kill()
        holding.wait()
    assert list(tmp_path.iterdir()) == []
