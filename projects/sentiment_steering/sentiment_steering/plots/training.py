"""Draw the plots of phase 2."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from projects_common.statistics import bootstrap

from sentiment_steering.operators.training import Fidelities, Trained
from sentiment_steering.operators.unitary import LowRankUnitary
from sentiment_steering.plots.figure import new_figure


def draw(trained: Trained) -> dict[str, Figure]:
    """Return the plots by the path of their artifact."""
    plots = {
        "plots/fidelity.png": _held_out_fidelities(trained.fidelities),
        "plots/angles.png": _rotation_angles(trained.operators.to_negative),
        "plots/course.png": _training_course(trained.course),
    }
    if trained.validation:
        plots["plots/mu.png"] = _cross_validation(trained.validation, trained.mu)
    return plots


def _held_out_fidelities(fidelities: Fidelities) -> Figure:
    """Draw held-out fidelity beside the controls, and the gain over the identity, since the differences are small."""
    figure, (left, right) = new_figure(11, 4, 2)
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
    figure, (axes,) = new_figure()
    axes.plot(operator.angles().flip(0).numpy(), marker=".")
    axes.set(xlabel="eigenvector", ylabel="angle (radians)", title="Angles of rotation of the operator")
    return figure


def _cross_validation(validation: Mapping[float, float], chosen: float) -> Figure:
    """Draw fidelity on left-out training pairs by mu."""
    figure, (axes,) = new_figure()
    axes.semilogx(list(validation), list(validation.values()), marker="o")
    axes.axvline(chosen, linestyle="--", color="tab:orange", label=f"chosen: {chosen:.3g}")
    axes.set(xlabel="mu, pull towards the identity", ylabel="fidelity on left-out pairs", title="Cross-validation")
    axes.legend()
    return figure


def _training_course(course: Mapping[str, Sequence[float]]) -> Figure:
    """Draw each recorded figure by step."""
    figure, (axes,) = new_figure()
    for name, values in course.items():
        axes.plot(values, marker=".", label=name.replace("_", " "))
    axes.set(xlabel="step", title="Course of the training")
    axes.legend()
    return figure
