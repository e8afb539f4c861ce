"""How much of a change is lost to rounding, and the memory that a merge takes."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lora_retraining.base_model.loading import multiplies_bfloat16
from lora_retraining.merging import blocks
from lora_retraining.merging.adapter import LowRankChange
from lora_retraining.merging.rounding import LayerChange, measure, total_row
from projects_common.models.headers import read_headers
from safetensors.torch import load_file, save_file


def layer_of(before: torch.Tensor, delta: torch.Tensor, dtype: torch.dtype) -> LayerChange:
    layer = LayerChange("layer", before.numel(), 0.0)
    for rows in range(0, len(before), 7):  # Blocks add up.
        old, change = before[rows : rows + 7], delta[rows : rows + 7]
        layer.add(measure(old.to(dtype), change, (old + change).to(dtype)))
    return layer


def test_a_change_below_half_a_step_of_bfloat16_is_lost_entirely():
    before, delta = torch.ones(20, 10), torch.full((20, 10), 1e-4)
    row = layer_of(before, delta, torch.bfloat16).row()
    assert row["share_changed"] == 0
    assert row["share_unmoved"] == 1
    assert row["lost_to_rounding"] == pytest.approx(1)
    assert layer_of(before, delta, torch.float32).row()["lost_to_rounding"] < 1e-3


def test_a_change_that_bfloat16_holds_exactly_loses_nothing():
    before, delta = torch.ones(20, 10), torch.full((20, 10), 0.5)
    row = layer_of(before, delta, torch.bfloat16).row()
    assert row["lost_to_rounding"] == 0
    assert row["share_changed"] == 1
    assert row["relative_change"] == pytest.approx(0.5)
    assert row["change_norm"] == pytest.approx(0.5 * math.sqrt(200))


def test_the_loss_is_the_error_of_rounding_to_nearest():
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(50, 40, generator=generator).bfloat16().float()
    delta = 0.01 * torch.randn(50, 40, generator=generator)
    layer = layer_of(before, delta, torch.bfloat16)
    error = (before + delta).bfloat16().float() - before - delta
    assert layer.lost == pytest.approx(float(error.norm()), rel=1e-5)
    assert layer.changed == int(((before + delta).bfloat16() != before.bfloat16()).sum())
    assert layer.unmoved == layer.count - layer.changed


def test_where_no_change_is_asked_for_nothing_is_missed():
    layer = layer_of(torch.randn(14, 3), torch.zeros(14, 3), torch.bfloat16)
    assert (layer.changed, layer.unmoved) == (0, 0)
    assert layer.row()["lost_to_rounding"] == 0


def test_the_total_is_that_of_all_layers_put_together():
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.randn(14, 8, generator=generator), 0.02 * torch.randn(14, 8, generator=generator)) for _ in "ab"]
    layers = [layer_of(before, delta, torch.bfloat16) for before, delta in parts]
    joined = layer_of(*(torch.cat(side) for side in zip(*parts, strict=True)), torch.bfloat16)
    total = total_row(layers)
    for name, value in joined.row().items():
        if name != "module":
            assert total[name] == pytest.approx(value, rel=1e-4), name


def test_the_largest_singular_value_of_a_change_needs_no_full_matrix():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(30, 4, generator=generator), torch.randn(4, 50, generator=generator)
    change = LowRankChange("layer", left, right)
    assert change.largest_singular_value == pytest.approx(float(torch.linalg.matrix_norm(left @ right, 2)), rel=1e-5)


CHILD = """
import json, resource, sys, torch
from pathlib import Path
from projects_common.models.headers import read_headers
from lora_retraining.merging.adapter import LowRankChange
from lora_retraining.merging.blocks import write_merged
from safetensors.torch import save_file

folder = Path(sys.argv[1])
headers = read_headers(folder)
changes = {
    header.name: LowRankChange(header.name, torch.randn(header.shape[0], 8), torch.randn(8, header.shape[1]))
    for header in headers
}
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
torch.randn(64, 64) @ torch.randn(64, 64)
before = peak()
(folder / "merged").mkdir()
write_merged(headers, changes, folder / "merged", torch.bfloat16, torch.device("cpu"))
print(json.dumps({"grown": peak() - before, "model": sum(header.bytes for header in headers)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_writing_a_merged_model_takes_a_small_part_of_its_size_in_memory(tmp_path: Path):
    tensors = {f"layer{index}.weight": torch.full((4096, 2048), 0.1, dtype=torch.bfloat16) for index in range(16)}
    save_file(tensors, tmp_path / "model.safetensors")
    project = Path(__file__).resolve().parents[4] / "projects" / "lora_retraining"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=project,
        env={"PYTHONPATH": f"{project}:{project.parents[1]}", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
    )
    found = json.loads(done.stdout)
    assert found["model"] == 16 * 4096 * 2048 * 2
    assert found["grown"] < 0.3 * found["model"]


def test_of_a_large_weight_rows_evenly_spread_tell_what_rounding_does_and_how_many_did_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 64, generator=generator).bfloat16()
    change = LowRankChange(
        "w", 0.1 * torch.randn(256, 4, generator=generator), 0.1 * torch.randn(4, 64, generator=generator)
    )
    save_file({"w.weight": weight}, tmp_path / "model.safetensors")
    found = {}
    for numbers, of_each in ((1 << 18, 1 << 16), (4 * 64, 1 << 16), (128 * 64, 1 << 11)):
        monkeypatch.setitem(blocks.BLOCK_NUMBERS, "cpu", numbers)
        monkeypatch.setattr(blocks, "_MEASURED_NUMBERS", of_each)
        folder = tmp_path / str(numbers)
        folder.mkdir()
        (layer,) = blocks.write_merged(
            read_headers(tmp_path), {"w.weight": change}, folder, torch.bfloat16, torch.device("cpu")
        ).layers
        found[layer.measured] = layer.row()
        merged = load_file(folder / "model.safetensors")["w.weight"]
        exact = weight.float() + change.left @ change.right
        # One rounding of the result, and that of the factors.
        torch.testing.assert_close(merged.float(), exact, rtol=2**-8, atol=2**-8 * 0.1)
    assert list(found) == [weight.numel(), weight.numel() // 8, weight.numel() // 4]
    whole, *parts = found.values()
    for name in ("weight_norm", "change_norm", "relative_change", "share_changed", "lost_to_rounding"):
        assert [part[name] for part in parts] == pytest.approx([whole[name]] * 2, rel=0.1), name


def test_the_same_bytes_come_out_whatever_number_of_threads_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(blocks.BLOCK_NUMBERS, "cpu", 4 * 64)
    before = torch.get_num_threads()
    tensors = {f"l{index}.weight": torch.randn(256, 64) for index in range(4)}
    save_file(tensors, tmp_path / "model.safetensors")
    changes = {name: LowRankChange(name, torch.randn(256, 4), torch.randn(4, 64)) for name in tensors}
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            (folder := tmp_path / str(threads)).mkdir()
            written = blocks.write_merged(read_headers(tmp_path), changes, folder, torch.bfloat16, torch.device("cpu"))
            assert torch.get_num_threads() == threads
            found.append(((folder / "model.safetensors").read_bytes(), [layer.row() for layer in written.layers]))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.skipif(not multiplies_bfloat16(), reason="this processor multiplies no bfloat16, so nothing is fused")
def test_rounding_the_factors_of_a_fused_product_is_lost_in_what_rounding_the_result_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As of an adapter that changes a weight by 1%."""
    generator = torch.Generator().manual_seed(0)
    weight = (0.02 * torch.randn(512, 256, generator=generator)).bfloat16()
    left, right = torch.randn(512, 16, generator=generator), torch.randn(16, 256, generator=generator)
    change = LowRankChange("w", 5e-5 * left, right)
    save_file({"w.weight": weight}, tmp_path / "model.safetensors")
    lost = {}
    for fused in (True, False):
        monkeypatch.setattr(blocks, "multiplies_bfloat16", lambda fused=fused: fused)
        folder = tmp_path / str(fused)
        folder.mkdir()
        headers, device = read_headers(tmp_path), torch.device("cpu")
        (layer,) = blocks.write_merged(headers, {"w.weight": change}, folder, torch.bfloat16, device).layers
        lost[fused] = float(layer.row()["lost_to_rounding"])
    assert lost[False] > 0.1
    assert lost[True] == pytest.approx(lost[False], rel=0.01)
