"""The duration and cost of a training, computed before it begins."""

from pathlib import Path

import pytest
import torch
from lora_retraining.checks.cost import check_cost, estimated_seconds, product_speed, training_operations
from lora_retraining.checks.data import Lengths
from lora_retraining.checks.memory import Architecture
from lora_retraining.settings import read_settings
from projects_common.models.headers import TensorHeader

SIZES = Architecture(hidden=64, intermediate=256, layers=1, attention=64, vocabulary=100)
HEADERS = [
    TensorHeader("model.embed_tokens.weight", "F32", (100, 64), Path("model.safetensors"), 0, 25_600),
    TensorHeader("model.layers.0.mlp.up_proj.weight", "F32", (256, 64), Path("model.safetensors"), 25_600, 65_536),
]
FROZEN, TRAINED = 100 * 64 + 256 * 64, 4 * (256 + 64)
CPU = torch.device("cpu")


@pytest.mark.parametrize(("checkpointing", "more"), [("false", 0), ("true", 2)])
def test_frozen_weights_cost_four_operations_a_token_and_trained_ones_six(checkpointing, more):
    chosen = read_settings({"preset": "tiny", "rank": 4, "epochs": 2, "gradient_checkpointing": checkpointing})
    expected = 1000 * 2 * ((4 + more) * FROZEN + (6 + more) * TRAINED)
    assert training_operations(HEADERS, chosen, 1000) == expected


def test_the_estimate_grows_with_the_rows_and_counts_no_token_that_is_cut_off(monkeypatch):
    monkeypatch.setattr("lora_retraining.checks.cost.product_speed", lambda *given: 1e9)
    chosen = read_settings({"preset": "tiny", "max_length": 50})

    def seconds(rows: int, tokens: int) -> float:
        lengths = Lengths(longest=tokens, too_long=0, ended=1, counted=1, tokens=tokens)
        return estimated_seconds(SIZES, HEADERS, chosen, lengths, rows, torch.float32, CPU)

    assert seconds(200, 50) == pytest.approx(2 * seconds(100, 50))
    assert seconds(100, 500) == seconds(100, 50)


def test_the_speed_is_measured_on_this_machine():
    assert 1e7 < product_speed(SIZES, 32, torch.float32, CPU) < 1e15


def test_the_line_says_time_and_price_and_the_metrics_hold_both(monkeypatch):
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", "2.5")
    check, metrics = check_cost(14 * 3600.0)
    assert metrics == {"estimated_training_seconds": 14 * 3600.0, "estimated_training_usd": 35.0}
    assert "about 14 h" in check.detail
    assert "$35" in check.detail


def test_without_a_size_nothing_is_estimated():
    check, metrics = check_cost(None)
    assert (check.status, metrics) == ("skip", {})
