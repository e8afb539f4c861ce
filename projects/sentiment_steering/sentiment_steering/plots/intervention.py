"""Draw the plots of phase 3."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sentiment_steering.intervention.experiment import Experiment
from sentiment_steering.intervention.outcomes import Outcome, Separations, perplexity_ratio
from sentiment_steering.plots.figure import COLOURS, new_figure


def draw(experiment: Experiment) -> dict[str, Figure]:
    """Return the plots by the path of their artifact."""
    return {
        "plots/separation.png": _separation_by_strength(experiment.separations),
        "plots/fluency.png": _scores_and_fluency(experiment.outcomes),
    }


def _separation_by_strength(intervals: Separations) -> Figure:
    """Draw the separation of each score by strength."""
    scores = list(dict.fromkeys(score for score, _, _ in intervals))
    figure, panels = new_figure(5 * len(scores), 4, len(scores))
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
    figure, (left, right) = new_figure(11, 4, 2)
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
