"""A file is copied whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from mlflow_plugin.checkout import placing
from mlflow_plugin.checkout.placing import place
from mlflow_plugin.checkout.putting_back import _require_space
from mlflow_plugin.errors import PhaseError


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3_000_000))
    return source, tmp_path / "below" / "target"


def test_a_copy_has_the_bytes_and_the_permissions(files: tuple[Path, Path]) -> None:
    source, target = files
    source.chmod(0o755)
    place(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o755
    place(source, target)
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
def test_where_the_kernel_cannot_copy_the_bytes_are_read_and_written(files, monkeypatch, number: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(placing.os, "copy_file_range", refuse)
    source, target = files
    place(source, target)
    assert target.read_bytes() == source.read_bytes()


def test_a_copy_that_fails_leaves_the_old_file_and_nothing_else(files, monkeypatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    source, target = files
    target.parent.mkdir()
    target.write_text("old")
    monkeypatch.setattr(placing.os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space"):
        place(source, target)
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["target"]


def test_files_that_are_larger_than_the_disk_are_refused_before_anything_is_changed(tmp_path: Path) -> None:
    with pytest.raises(
        PhaseError, match=r"1000000000\.0 GB have to be put back, and .* Make room, .* nothing was changed"
    ):
        _require_space(tmp_path, 10**18)
