"""Describe a run of phase 3 in Markdown."""

from projects_common.controls import claims_table
from projects_common.report import table

from sentiment_steering.intervention.experiment import Experiment
from sentiment_steering.intervention.outcomes import activation_change, largest_strength, members, perplexity_ratio


def describe(experiment: Experiment) -> str:
    """Return the description of the run."""
    outcomes, intervals, figures = experiment.outcomes, experiment.separations, experiment.figures
    scores = list(outcomes[0].scores)
    largest = largest_strength(intervals)
    rows = [
        [
            family.replace("_", " "),
            f"{strength:g}",
            *(str(intervals[score, family, strength]) for score in scores),
            f"{perplexity_ratio(outcomes, family, strength):.2f}",
            f"{activation_change(outcomes, family, strength):.1%}",
        ]
        for first, family, strength in intervals
        if first == scores[0]
    ]
    return f"""### Steering {len(experiment.openings)} openings

To positive minus to negative, mean over openings with 95% bootstrap intervals; perplexity over that of unsteered text;
and how far hidden states were moved, relative to their length:

{table(["family", "strength", *scores, "perplexity", "moved"], rows)}

At strength {largest:g}:

{claims_table(experiment.claims)}

The random unitary moves states about as far as the operator, to a random place. An interval that holds 0 shows neither
an effect nor its absence.

The hook was at work: at strength {largest:g} hidden states moved by {figures["activation_change"]:.1%} of their length
(lengths kept to {figures["norm_error"]:.0e}), at strength 0 not one bit changed, and encoding and decoding alone move
them by {figures["identity_round_trip_error"]:.0e}.

{_examples(experiment, largest)}
"""


def _examples(experiment: Experiment, strength: float) -> str:
    columns = [experiment.outcomes[0], *members(experiment.outcomes, "operator", strength)]
    rows = [
        [opening, *(" ".join(outcome.texts[index].split()) for outcome in columns)]
        for index, opening in enumerate(experiment.openings[:3])
    ]
    return table(["opening", *(outcome.condition.name for outcome in columns)], rows)
