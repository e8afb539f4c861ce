"""SmolLM2: converted once, and again when what was converted is no longer whole."""

from pathlib import Path

import pytest
from projects_common.models import smollm2


def test_the_conversion_is_done_once_and_again_when_a_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversions = []

    def convert(gguf: Path, folder: Path) -> None:
        conversions.append(gguf)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "sizes.json").write_text('{"model.safetensors": 7}')

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(smollm2, "packaged_file", lambda wanted: tmp_path / "model.gguf")
    monkeypatch.setattr(smollm2, "_convert_gguf", convert)
    folder = smollm2.smollm2_folder()
    assert smollm2.smollm2_folder() == folder
    assert len(conversions) == 1
    (folder / "model.safetensors").write_bytes(b"wei")
    assert (smollm2.smollm2_folder() / "model.safetensors").read_bytes() == b"weights"
    assert len(conversions) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
