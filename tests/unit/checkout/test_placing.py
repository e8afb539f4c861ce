"""A file is copied whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from mlflow_plugin.checkout import placing
from mlflow_plugin.checkout.placing import in_threads, link, place
from mlflow_plugin.checkout.putting_back import _require_space
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import signature_of


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


def test_a_file_that_is_not_in_its_verified_state_is_not_copied(files: tuple[Path, Path]) -> None:
    source, target = files
    target.parent.mkdir()
    target.write_text("old")
    verified = signature_of(source.stat())
    os.utime(source, ns=(1, 1))
    with pytest.raises(OSError, match="changed while it was copied"):
        place(source, target, signature=verified)
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["target"]
    place(source, target, signature=signature_of(source.stat()))
    assert target.read_bytes() == source.read_bytes()


def test_a_copy_of_a_read_only_file_can_be_one_that_may_be_written_to(files: tuple[Path, Path]) -> None:
    source, target = files
    source.chmod(0o555)
    place(source, target, like=False)
    assert target.stat().st_mode & 0o300 == 0o300
    source.chmod(0o444)
    place(source, target, like=False)
    assert target.stat().st_mode & 0o300 == 0o200


def test_a_hard_link_replaces_a_file_and_one_to_the_same_file(files: tuple[Path, Path]) -> None:
    source, target = files
    target.parent.mkdir()
    target.write_text("old")
    for _ in range(2):
        assert link(source, target)
        assert target.stat().st_ino == source.stat().st_ino
        assert os.listdir(target.parent) == ["target"]


def test_a_file_system_without_hard_links_is_no_error_and_a_missing_file_is(files, monkeypatch) -> None:
    source, target = files
    with pytest.raises(FileNotFoundError):
        link(source.parent / "absent", target)

    def refuse(*_: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(placing.os, "link", refuse)
    assert not link(source, target)
    assert os.listdir(target.parent) == []


def test_threads_return_results_in_order_and_end_with_the_first_error() -> None:
    assert list(in_threads(lambda number: number * 2, list(range(100)))) == list(range(0, 200, 2))
    assert list(in_threads(lambda number: number, [])) == []
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 // (number - 40), list(range(100))))
