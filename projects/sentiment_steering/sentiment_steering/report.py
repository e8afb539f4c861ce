"""Write the descriptions of the runs in Markdown: what happened, what it means, and what it does not show."""

from collections.abc import Mapping

from projects_common.controls import claims_table
from projects_common.report import table

from sentiment_steering.intervention.experiment import Experiment
from sentiment_steering.intervention.outcomes import activation_change, largest_strength, members, perplexity_ratio
from sentiment_steering.operators.reversibility import Reversibility
from sentiment_steering.operators.training import Trained
from sentiment_steering.states.collection import Collected

Figures = Mapping[str, float]


def collection(collected: Collected) -> str:
    """Describe a run of phase 1."""
    figures, origin, split = collected.figures, collected.encoded.origin, collected.split
    pairs, held_out = len(split.train.positive), len(split.held_out.positive)
    accuracy = figures["probe_accuracy"]
    readable = "can be read from" if accuracy > 0.6 else "can hardly be read from"
    chosen = "The layer was chosen on training data alone." if len(collected.layers) > 1 else "The layer was given."
    between, positive, negative = (
        f"{figures[name]:.4f}"
        for name in ("fidelity_between_classes", "fidelity_within_positive", "fidelity_within_negative")
    )
    error, condition = f"{figures['encoding_error']:.1e}", f"{figures['encoding_condition']:.2f}"
    return f"""### Hidden states of {origin.preset}, layer {origin.layer}

{pairs} training pairs and {held_out} held-out pairs, pooling `{origin.pooling}`.
Sentiment {readable} these states: a linear probe fitted on the training states is right on {accuracy:.1%} of
the held-out ones (chance: 50%). {chosen}

Each state of width {origin.width} became a complex unit vector of dimension {origin.encoding.dimension}; its length is
kept, and decoding gives it back with a relative error of {error} (condition {condition}).

Held-out states of different classes have a fidelity of **{between}** without any operator; within a class it is
{positive} (positive) and {negative} (negative). An operator has to be judged against the first of these, not against 0.
"""


def training(trained: Trained) -> str:
    """Describe a run of phase 2."""
    figures = trained.figures
    labels = {
        "held_out": f"**{trained.method}**",
        "identity": "identity",
        "centroid": "centroid rotation",
        "random_unitary": "random unitary",
    }
    endings = ("", "_to_negative", "_to_positive")
    rows = [
        [label, *(f"{figures[f'{name}_fidelity{ending}']:.4f}" for ending in endings)] for name, label in labels.items()
    ]
    return f"""### Two unitary operators by {trained.method}

Fidelity on held-out pairs:

{table(["operator", "both", "to negative", "to positive"], rows)}

Training fidelity {figures["train_fidelity"]:.4f}; mu = {trained.mu:.3g}; rank {figures["rank"]:.0f};
unitarity error {figures["unitarity_error"]:.1e}; largest angle {figures["largest_angle"]:.3f} rad.

{claims_table(trained.claims, digits=4)}

The difference is one of fidelity, with its 95% bootstrap interval over held-out pairs, which the operators never saw.
The centroid rotation only carries one mean to the other. {_centroid_sentence(trained)}
"""


def _centroid_sentence(trained: Trained) -> str:
    if trained.claims[1].judgement == "confirmed":
        return "The operators learned more than that."
    return "As far as fidelity can tell, the operators learned **that one rotation**."


def intervention(experiment: Experiment) -> str:
    """Describe a run of phase 3."""
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


def reversibility(result: Reversibility) -> str:
    """Describe a run of phase 4."""
    figures = result.figures
    rows = [
        [
            name.replace("_", ", "),
            f"{figures[f'round_trip_fidelity_{name}']:.6f}",
            f"{figures[f'product_error_{name}']:.1e}",
            f"{figures[f'product_distance_{name}']:.1e}",
        ]
        for name in result.trips
    ]
    inverse = figures["product_error_learned_positive"] < 1e-6
    meaning = (
        "The learned operators are inverse to each other up to rounding. That follows from the objective, which is the "
        "same for an operator and for the adjoint of its reverse; it says nothing about sentiment."
        if inverse
        else "The learned operators are not exactly inverse to each other: they were trained from different starts."
    )
    return f"""### There and back

Held-out states, out by one operator and back by the other learned one, or by the adjoint:

{table(["way back, states", "fidelity", "largest entry of U2 U1 - I", "mean length of (U2 U1 - I) w"], rows)}

{meaning} The adjoint of a unitary operator is its inverse, so the last two rows measure rounding.
"""
