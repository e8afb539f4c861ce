"""Draw the plots of phase 1."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from sentiment_steering.plots.figure import COLOURS, new_figure
from sentiment_steering.states.collection import Collected
from sentiment_steering.states.probe import LayerChoice


def draw(collected: Collected) -> dict[str, Figure]:
    """Return the plots by the path of their artifact."""
    return {
        "plots/layers.png": _layer_accuracy(collected.layers, collected.choice),
        "plots/states.png": _state_map(collected.hidden),
    }


def _layer_accuracy(layers: Sequence[int], choice: LayerChoice) -> Figure:
    """Draw probe accuracy by layer with its standard error, and the layer that was chosen."""
    figure, (axes,) = new_figure()
    axes.errorbar(layers, choice.accuracies, yerr=choice.standard_errors, marker="o", capsize=3)
    axes.axvline(choice.layer, linestyle="--", color="tab:orange", label=f"chosen: layer {choice.layer}")
    axes.axhline(0.5, linestyle=":", color="gray", label="chance")
    axes.set(
        xlabel="layer", ylabel="probe accuracy, cross-validated", title="Where sentiment can be read (training data)"
    )
    axes.legend()
    return figure


def _state_map(hidden: Mapping[str, Tensor]) -> Figure:
    """Draw hidden states on the two main axes of the training states."""
    train = torch.cat([hidden["train_positive"], hidden["train_negative"]]).double()
    centre = train.mean(0)
    axes_of_data = torch.linalg.svd(train - centre, full_matrices=False).Vh[:2]
    figure, (axes,) = new_figure()
    for part, marker in (("train", "o"), ("held_out", "x")):
        for label in ("positive", "negative"):
            x, y = ((hidden[f"{part}_{label}"].double() - centre) @ axes_of_data.mT).mT.numpy()
            axes.scatter(x, y, marker=marker, s=18, alpha=0.7, color=COLOURS[label], label=f"{label}, {part}")
    axes.set(xlabel="first principal axis", ylabel="second principal axis", title="Hidden states at the chosen layer")
    axes.legend()
    return figure
