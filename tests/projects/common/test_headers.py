"""Reading safetensors headers, and telling damaged files from intact ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from projects_common.models.headers import bytes_by_dtype, parameter_count, read_headers
from safetensors.numpy import save_file

from mlflow_plugin.errors import PhaseError


def save_shards(folder: Path) -> None:
    save_file({"b": np.ones((2, 3), np.float32)}, folder / "model-00001-of-00002.safetensors")
    save_file({"a": np.full((4,), 7, np.float16)}, folder / "model-00002-of-00002.safetensors")
    weight_map = {"b": "model-00001-of-00002.safetensors", "a": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_the_tensors_of_all_shards_are_listed_with_the_place_of_their_bytes(tmp_path: Path) -> None:
    save_shards(tmp_path)
    headers = read_headers(tmp_path)
    assert [(header.name, header.dtype, header.shape, header.bytes) for header in headers] == [
        ("a", "F16", (4,), 8),
        ("b", "F32", (2, 3), 24),
    ]
    first = headers[0]
    content = first.file.read_bytes()[first.offset : first.offset + first.bytes]
    assert np.frombuffer(content, np.float16).tolist() == [7, 7, 7, 7]
    assert (parameter_count(headers), bytes_by_dtype(headers)) == (10, {"F32": 24, "F16": 8})


def test_a_single_file_counts_as_transformers_would_take_it_even_beside_an_index(tmp_path: Path) -> None:
    save_shards(tmp_path)
    save_file({"c": np.ones(1, np.float32)}, tmp_path / "model.safetensors")
    assert [header.name for header in read_headers(tmp_path)] == ["c"]


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    save_shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(PhaseError, match=r"not there: model-00002-of-00002.safetensors"):
        read_headers(tmp_path)


def test_a_file_cut_short_is_refused_with_both_sizes(tmp_path: Path) -> None:
    save_file({"c": np.ones(100, np.float32)}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(PhaseError, match=f"cut short: its header promises {len(whole)} bytes, it has {len(whole) - 1}"):
        read_headers(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 64, b"\x08" + b"\0" * 7 + b"no json!", b"version https://git-lfs"]
)
def test_what_is_no_safetensors_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(PhaseError, match=r"model.safetensors is no safetensors file"):
        read_headers(tmp_path)


def test_a_damaged_index_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    with pytest.raises(PhaseError, match=r"index.json is no index of shards"):
        read_headers(tmp_path)


def test_a_folder_without_safetensors_is_refused_and_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(PhaseError, match="Only that format is read"):
        read_headers(tmp_path)
