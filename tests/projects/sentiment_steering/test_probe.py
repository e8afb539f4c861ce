"""Probes and the choice of the layer: training data only, and the first layer that is as good as any."""

from pathlib import Path

import pytest
import torch
from sentiment_steering.states.collection import pick_layer, requested_layers
from sentiment_steering.states.models import LanguageModel
from sentiment_steering.states.probe import choose_layer, held_out_accuracy
from torch import Tensor

from mlflow_plugin.errors import PhaseError


def layered_states(signals: list[float], count: int = 30, width: int = 10) -> tuple[Tensor, Tensor]:
    """States of each class whose classes lie `signal` apart at each layer."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, len(signals), count, width, generator=generator)
    shift = torch.tensor(signals)[:, None, None]
    return noise[0] + shift, noise[1] - shift


def test_the_first_of_equally_good_layers_is_chosen() -> None:
    choice = choose_layer(*layered_states([0.0, 5.0, 5.0, 0.0]))
    assert choice.layer == 1
    assert choice.accuracies[1] == 1.0
    assert choice.accuracies[0] < 0.8


def test_held_out_states_have_no_say_in_the_choice() -> None:
    positive, negative = layered_states([0.0, 5.0, 0.0])
    groups = {"train_positive": positive, "train_negative": negative}
    held_out = dict.fromkeys(("held_out_positive", "held_out_negative"), torch.full_like(positive, torch.nan))
    assert pick_layer([3, 5, 7], groups | held_out, seed=0).layer == 5


def test_accuracy_is_that_on_the_held_out_states() -> None:
    (positive,), (negative,) = layered_states([5.0])
    assert held_out_accuracy((positive, negative), (positive, negative)) == 1.0
    assert held_out_accuracy((positive, negative), (negative, positive)) == 0.0


def test_auto_reads_all_layers_and_a_number_that_layer(tiny: LanguageModel, tmp_path: Path) -> None:
    assert requested_layers(tiny, "auto") == [0, 1]
    assert requested_layers(tiny, 1) == [1]
    with pytest.raises(PhaseError, match="0 to 1"):
        requested_layers(tiny, 2)
