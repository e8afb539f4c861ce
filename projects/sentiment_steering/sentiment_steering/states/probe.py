"""Fit linear probes, which tell how well the class of a sentence can be read from its hidden state."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor


@dataclass(frozen=True)
class LayerChoice:
    """Hold the chosen layer, and the cross-validated accuracy and its standard error at every layer."""

    layer: int
    accuracies: list[float]
    standard_errors: list[float]


def choose_layer(positive: Tensor, negative: Tensor, seed: int = 0) -> LayerChoice:
    """Choose the first layer whose probe is within one standard error of the best.

    The first, because an early change still passes through the layers that follow.

    Args:
        positive: Training states of one class, (layers, n, width). Held-out states have no part in the choice.
        negative: Those of the other class.
        seed: Shuffles the folds.
    """
    scores = [layer_accuracy(*sides, seed) for sides in zip(positive, negative, strict=True)]
    accuracies = [float(folds.mean()) for folds in scores]
    errors = [float(folds.std(ddof=1) / len(folds) ** 0.5) for folds in scores]
    best = int(np.argmax(accuracies))
    floor = accuracies[best] - errors[best]
    return LayerChoice(
        next(layer for layer, accuracy in enumerate(accuracies) if accuracy >= floor), accuracies, errors
    )


def layer_accuracy(positive: Tensor, negative: Tensor, seed: int = 0) -> np.ndarray:
    """Return the accuracy in each of up to five folds, for states (n, width) of each class."""
    states, labels = _examples(positive, negative)
    folds = StratifiedKFold(min(5, len(positive), len(negative)), shuffle=True, random_state=seed)
    return np.asarray(cross_val_score(_probe(), states, labels, cv=folds))


def held_out_accuracy(train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> float:
    """Return the accuracy on held-out states of a probe fitted on training states, both as (positive, negative)."""
    probe = _probe().fit(*_examples(*train))
    return float(probe.score(*_examples(*held_out)))


def _examples(positive: Tensor, negative: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    return torch.cat([positive, negative]).double().numpy(), labels


def _probe() -> Pipeline:
    # Few examples, many numbers each: strong regularisation.
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
