"""Draw the plots of each phase, without a display. The functions without underscore return them by artifact path."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from projects_common.statistics import bootstrap
from torch import Tensor

from sentiment_steering.intervention.experiment import Experiment
from sentiment_steering.intervention.outcomes import Outcome, Separations, perplexity_ratio
from sentiment_steering.operators.evaluation import RoundTrip
from sentiment_steering.operators.reversibility import Reversibility
from sentiment_steering.operators.training import Fidelities, Trained
from sentiment_steering.operators.unitary import LowRankUnitary
from sentiment_steering.states.collection import Collected
from sentiment_steering.states.probe import LayerChoice

COLOURS = {
    "operator": "tab:blue",
    "random_unitary": "tab:gray",
    "difference_of_means": "tab:orange",
    "positive": "tab:green",
    "negative": "tab:red",
}


def collection(collected: Collected) -> dict[str, Figure]:
    """Draw the plots of phase 1."""
    return {
        "plots/layers.png": _layer_accuracy(collected.layers, collected.choice),
        "plots/states.png": _state_map(collected.hidden),
    }


def training(trained: Trained) -> dict[str, Figure]:
    """Draw the plots of phase 2."""
    plots = {
        "plots/fidelity.png": _held_out_fidelities(trained.fidelities),
        "plots/angles.png": _rotation_angles(trained.operators.to_negative),
        "plots/course.png": _training_course(trained.course),
    }
    if trained.validation:
        plots["plots/mu.png"] = _cross_validation(trained.validation, trained.mu)
    return plots


def intervention(experiment: Experiment) -> dict[str, Figure]:
    """Draw the plots of phase 3."""
    return {
        "plots/separation.png": _separation_by_strength(experiment.separations),
        "plots/fluency.png": _scores_and_fluency(experiment.outcomes),
    }


def reversibility(result: Reversibility) -> dict[str, Figure]:
    """Draw the plot of phase 4."""
    return {"plots/round_trips.png": _round_trips(result.trips)}


def _figure(width: float = 7, height: float = 4, columns: int = 1) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, columns))


def _layer_accuracy(layers: Sequence[int], choice: LayerChoice) -> Figure:
    """Draw probe accuracy by layer with its standard error, and the layer that was chosen."""
    figure, (axes,) = _figure()
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
    figure, (axes,) = _figure()
    for part, marker in (("train", "o"), ("held_out", "x")):
        for label in ("positive", "negative"):
            x, y = ((hidden[f"{part}_{label}"].double() - centre) @ axes_of_data.mT).mT.numpy()
            axes.scatter(x, y, marker=marker, s=18, alpha=0.7, color=COLOURS[label], label=f"{label}, {part}")
    axes.set(xlabel="first principal axis", ylabel="second principal axis", title="Hidden states at the chosen layer")
    axes.legend()
    return figure


def _held_out_fidelities(fidelities: Fidelities) -> Figure:
    """Draw held-out fidelity beside the controls, and the gain over the identity, since the differences are small."""
    figure, (left, right) = _figure(11, 4, 2)
    for place, (direction, measured) in enumerate(fidelities.items()):
        label, shift = direction.replace("_", " "), 0.2 * (2 * place - 1)
        names = [name for name in measured if name != "train"]
        means = [float(measured[name].mean()) for name in names]
        left.bar(np.arange(len(names)) + shift, means, width=0.38, label=label)
        labels = ["operator" if name == "held_out" else name.replace("_", " ") for name in names]
        left.set_xticks(range(len(names)), labels)
        gains = [bootstrap((measured[name] - measured["identity"]).numpy()) for name in ("held_out", "centroid")]
        middle = np.array([gain.point for gain in gains])
        spread = np.abs(np.array([[gain.low, gain.high] for gain in gains]).T - middle)
        right.errorbar(np.arange(2) + shift / 2, middle, yerr=spread, fmt="o", capsize=4, label=label)
    left.set(ylabel="fidelity", ylim=(0, 1), title="Held-out fidelity")
    left.legend(loc="upper right")
    right.axhline(0, linestyle=":", color="black")
    right.set_xticks(range(2), ["operator", "centroid"])
    right.set(ylabel="fidelity - fidelity of the identity", xlim=(-0.5, 1.5), title="Gain over doing nothing, 95%")
    return figure


def _rotation_angles(operator: LowRankUnitary) -> Figure:
    """Draw the angle by which the operator rotates each of its eigenvectors."""
    figure, (axes,) = _figure()
    axes.plot(operator.angles().flip(0).numpy(), marker=".")
    axes.set(xlabel="eigenvector", ylabel="angle (radians)", title="Angles of rotation of the operator")
    return figure


def _cross_validation(validation: Mapping[float, float], chosen: float) -> Figure:
    """Draw fidelity on left-out training pairs by mu."""
    figure, (axes,) = _figure()
    axes.semilogx(list(validation), list(validation.values()), marker="o")
    axes.axvline(chosen, linestyle="--", color="tab:orange", label=f"chosen: {chosen:.3g}")
    axes.set(xlabel="mu, pull towards the identity", ylabel="fidelity on left-out pairs", title="Cross-validation")
    axes.legend()
    return figure


def _training_course(course: Mapping[str, Sequence[float]]) -> Figure:
    """Draw each recorded figure by step."""
    figure, (axes,) = _figure()
    for name, values in course.items():
        axes.plot(values, marker=".", label=name.replace("_", " "))
    axes.set(xlabel="step", title="Course of the training")
    axes.legend()
    return figure


def _separation_by_strength(intervals: Separations) -> Figure:
    """Draw the separation of each score by strength."""
    scores = list(dict.fromkeys(score for score, _, _ in intervals))
    figure, panels = _figure(5 * len(scores), 4, len(scores))
    for axes, score in zip(panels, scores, strict=True):
        for family in dict.fromkeys(family for _, family, _ in intervals):
            points = [(strength, each) for (s, f, strength), each in intervals.items() if (s, f) == (score, family)]
            strengths, means = [point[0] for point in points], np.array([point[1].point for point in points])
            spread = np.abs(np.array([[each.low, each.high] for _, each in points]).T - means)
            label = family.replace("_", " ")
            axes.errorbar(strengths, means, yerr=spread, marker="o", capsize=4, color=COLOURS[family], label=label)
        axes.axhline(0, linestyle=":", color="black")
        axes.set(xlabel="strength", ylabel=f"{score}: to positive minus to negative", title=score)
    panels[0].legend()
    return figure


def _scores_and_fluency(outcomes: Sequence[Outcome]) -> Figure:
    """Draw log-odds of sentiment against signed strength, and perplexity beside unsteered text against strength."""
    figure, (left, right) = _figure(11, 4, 2)
    plain = float(np.mean(outcomes[0].scores["log_odds"]))
    for family in ("operator", "random_unitary", "difference_of_means"):
        drawn = [outcome for outcome in outcomes if outcome.condition.family == family]
        signed = sorted(
            (
                each.condition.strength * (1 if each.condition.direction == "to_positive" else -1),
                float(np.mean(each.scores["log_odds"])),
            )
            for each in drawn
            if each.condition.strength > 0
        )
        left.plot(*zip(*signed, strict=True), marker="o", color=COLOURS[family], label=family.replace("_", " "))
        strengths = sorted({each.condition.strength for each in drawn} - {0.0})
        ratios = [perplexity_ratio(outcomes, family, strength) for strength in strengths]
        right.plot(strengths, ratios, marker="o", color=COLOURS[family])
    left.axhline(plain, linestyle=":", color="black", label="unsteered")
    left.set(xlabel="to negative  <  strength  >  to positive", ylabel="log P(good) - log P(bad)", title="Sentiment")
    left.legend()
    right.axhline(1, linestyle=":", color="black")
    right.set(xlabel="strength", ylabel="perplexity over unsteered", title="Fluency")
    return figure


def _round_trips(trips: Mapping[str, RoundTrip]) -> Figure:
    """Draw the loss of fidelity of each held-out state on the way there and back, on a logarithmic scale."""
    figure, (axes,) = _figure()
    floor = 1e-17
    for name, trip in trips.items():
        lost = (1 - trip.fidelities).abs().clamp(min=floor).sort().values
        axes.semilogy(lost.numpy(), marker=".", label=name.replace("_", " "))
    axes.set(xlabel="held-out state", ylabel="1 - round-trip fidelity", title="Loss on the way there and back")
    axes.legend()
    return figure
