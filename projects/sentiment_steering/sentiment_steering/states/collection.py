"""Collect the hidden states of all sentences, choose the layer, encode the states and measure them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from projects_common.files import write_json
from projects_common.loops import Progress, unshown
from torch import Tensor

from sentiment_steering.settings import CollectSettings
from sentiment_steering.states.encoded import EncodedStates, Origin, encode_groups, states_document
from sentiment_steering.states.encoding import overlap
from sentiment_steering.states.models import LanguageModel, load_model
from sentiment_steering.states.probe import LayerChoice, choose_layer, held_out_accuracy
from sentiment_steering.states.reading import check_layers, collect_states
from sentiment_steering.states.sentences import READING_SUFFIX, Split, load_sentences, split_pairs


@dataclass(frozen=True)
class Collected:
    """Hold the result of phase 1.

    Attributes:
        split: The sentences.
        layers: The layers that were read.
        choice: The chosen layer, and the accuracy of each.
        hidden: Hidden states (n, width) of each group at the chosen layer.
        encoded: The same states as unit vectors.
        figures: The metrics.
    """

    split: Split
    layers: list[int]
    choice: LayerChoice
    hidden: Mapping[str, Tensor]
    encoded: EncodedStates
    figures: Mapping[str, float]

    def save_document(self, file: Path) -> None:
        """Write states.json."""
        accuracies = self.choice.accuracies
        write_json(states_document(self.encoded.origin, layers=self.layers, layer_accuracies=accuracies), file)

    def save_sentences(self, file: Path) -> None:
        """Write sentences.json."""
        write_json(self.split.texts(), file)


def collect(settings: CollectSettings, progress: Progress = unshown) -> Collected:
    """Read the sentences with the model of the preset and encode their states at one layer.

    Raises:
        PhaseError: the sentences, the model or the layer cannot be had.
    """
    sentences = load_sentences("prompts" if settings.data == "prompts" else "rotten_tomatoes", settings.prompts)
    split = split_pairs(sentences, settings.pairs, settings.held_out, settings.seed)
    language_model = load_model(settings.preset, settings.device)
    layers, groups = collect_groups(language_model, split, settings, progress)
    choice = pick_layer(layers, groups, settings.seed)
    hidden = {name: states[layers.index(choice.layer)] for name, states in groups.items()}
    origin = Origin(settings.preset, choice.layer, settings.pooling, language_model.width, settings.seed)
    encoded = encode_groups(hidden, origin)
    return Collected(split, layers, choice, hidden, encoded, state_figures(encoded, hidden, choice))


def collect_groups(
    language_model: LanguageModel, split: Split, settings: CollectSettings, progress: Progress = unshown
) -> tuple[list[int], dict[str, Tensor]]:
    """Return the layers that were read, and the hidden states (layers, n, width) of each group of sentences.

    With pooling `last` the reading suffix follows every sentence: the last token of a sentence is mostly a full stop.
    """
    layers = requested_layers(language_model, settings.layer)
    suffix = READING_SUFFIX if settings.pooling == "last" else ""
    groups = split.texts()
    texts = [text + suffix for part in groups.values() for text in part]
    states = collect_states(language_model, texts, layers, settings.pooling, settings.batch_size, progress)
    parts = states.split([len(part) for part in groups.values()], dim=1)
    return layers, dict(zip(groups, parts, strict=True))


def requested_layers(language_model: LanguageModel, layer: int | str) -> list[int]:
    """Return all layers for `auto`, else the given one. Raises PhaseError when the model does not have it."""
    if not isinstance(layer, int):
        return list(range(len(language_model.blocks)))
    check_layers(language_model, [layer])
    return [layer]


def pick_layer(layers: Sequence[int], groups: Mapping[str, Tensor], seed: int) -> LayerChoice:
    """Choose among the layers that were read, by training states alone."""
    choice = choose_layer(groups["train_positive"], groups["train_negative"], seed)
    return LayerChoice(layers[choice.layer], choice.accuracies, choice.standard_errors)


def state_figures(encoded: EncodedStates, hidden: Mapping[str, Tensor], choice: LayerChoice) -> dict[str, float]:
    """Return the metrics of phase 1.

    Fidelities between and within classes are means of |<a|b>|^2 of held-out states: how alike states are anyway.
    """
    positive, negative = encoded.states["held_out_positive"], encoded.states["held_out_negative"]
    train, held_out = ((hidden[f"{part}_positive"], hidden[f"{part}_negative"]) for part in ("train", "held_out"))
    return {
        "layer": float(choice.layer),
        "probe_accuracy": held_out_accuracy(train, held_out),
        "train_probe_accuracy": max(choice.accuracies),
        "fidelity_between_classes": float(overlap(positive, negative).mean()),
        "fidelity_within_positive": float(overlap(positive, positive.roll(1, 0)).mean()),
        "fidelity_within_negative": float(overlap(negative, negative.roll(1, 0)).mean()),
        "encoding_condition": encoded.origin.encoding.condition,
        "encoding_error": encoding_error(encoded, hidden),
    }


def encoding_error(encoded: EncodedStates, hidden: Mapping[str, Tensor]) -> float:
    """Return the largest relative error of held-out states after encoding and decoding."""
    original = hidden["held_out_positive"]
    error = (encoded.hidden("held_out_positive") - original).norm(dim=1) / original.norm(dim=1)
    return float(error.max())
