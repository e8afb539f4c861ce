"""Who is writing the files of a phase is known without a trace of having asked."""

from pathlib import Path

from mlflow_plugin.checkout.lock import is_being_written, reading, writing


def test_files_are_being_written_as_long_as_their_phase_computes_and_not_while_others_read_them(tmp_path: Path) -> None:
    assert not is_being_written(tmp_path, "prepare")
    assert list(tmp_path.iterdir()) == []
    with writing(tmp_path, "prepare"):
        assert is_being_written(tmp_path, "prepare")
        assert not is_being_written(tmp_path, "train")
    with reading(tmp_path, "prepare"):
        assert not is_being_written(tmp_path, "prepare")
    assert not is_being_written(tmp_path, "prepare")
