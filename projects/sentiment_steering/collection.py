"""What phase 1 does with the modules below it: collect every group, pick the layer, measure the states."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from mlflow_plugin.errors import PhaseError
from projects.sentiment_steering.data import READING_SUFFIX, Split
from projects.sentiment_steering.models import LanguageModel
from projects.sentiment_steering.operators import fidelity
from projects.sentiment_steering.probe import LayerChoice, choose_layer, held_out_accuracy
from projects.sentiment_steering.states import check_layers, collect_states
from projects.sentiment_steering.storage import EncodedStates


def collect_groups(
    language_model: LanguageModel, split: Split, arguments: argparse.Namespace, progress: Callable[..., Iterable[Any]]
) -> tuple[list[int], dict[str, Tensor]]:
    """The layers that were read, and per group of sentences the hidden states (layers, n, width).

    With pooling `last` the reading suffix follows every sentence: the last token of a sentence is mostly a full stop.
    """
    layers = requested_layers(language_model, arguments.layer)
    suffix = READING_SUFFIX if arguments.pooling == "last" else ""
    groups = split.texts()
    texts = [text + suffix for part in groups.values() for text in part]

    def shown(batches: Sequence[Any]) -> Iterable[Any]:
        return progress(batches, total=len(batches), description="reading sentences")

    states = collect_states(language_model, texts, layers, arguments.pooling, arguments.batch_size, shown)
    parts = states.split([len(part) for part in groups.values()], dim=1)
    return layers, dict(zip(groups, parts, strict=True))


def requested_layers(language_model: LanguageModel, layer: str) -> list[int]:
    """All layers for `auto`, else the one that was named. Raises PhaseError for anything else."""
    if layer == "auto":
        return list(range(len(language_model.blocks)))
    if not layer.isdigit():
        raise PhaseError(f"layer={layer!r}: give `auto` or a number from 0 to {len(language_model.blocks) - 1}.")
    check_layers(language_model, [int(layer)])
    return [int(layer)]


def pick_layer(layers: Sequence[int], groups: Mapping[str, Tensor], seed: int) -> LayerChoice:
    """The layer of highest probe accuracy within its error, judged on training states alone."""
    found = choose_layer(groups["train_positive"], groups["train_negative"], seed)
    return LayerChoice(layers[found.layer], found.accuracies, found.standard_errors)


def state_figures(encoded: EncodedStates, chosen: Mapping[str, Tensor], choice: LayerChoice) -> dict[str, float]:
    """Metrics of phase 1. Class fidelities, mean |<a|b>|^2 of held-out states, say how alike states are anyway."""
    positive, negative = encoded.states["held_out_positive"], encoded.states["held_out_negative"]
    train, held_out = ((chosen[f"{part}_positive"], chosen[f"{part}_negative"]) for part in ("train", "held_out"))
    encoding = encoded.origin.encoding
    return {
        "layer": float(choice.layer),
        "probe_accuracy": held_out_accuracy(train, held_out),
        "train_probe_accuracy": max(choice.accuracies),
        "fidelity_between_classes": float(fidelity(None, positive, negative).mean()),
        "fidelity_within_positive": float(fidelity(None, positive, positive.roll(1, 0)).mean()),
        "fidelity_within_negative": float(fidelity(None, negative, negative.roll(1, 0)).mean()),
        "encoding_condition": encoding.condition,
        "encoding_error": encoding_error(encoded, chosen),
    }


def encoding_error(encoded: EncodedStates, hidden: Mapping[str, Tensor]) -> float:
    """Largest relative error of encoding held-out states and decoding them again."""
    original = hidden["held_out_positive"]
    lost = (encoded.hidden("held_out_positive") - original).norm(dim=1) / original.norm(dim=1)
    return float(lost.max())
