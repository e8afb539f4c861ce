"""The descriptions of the runs, in Markdown: what happened, what it means, and what it does not show."""

from collections.abc import Mapping, Sequence

from projects.sentiment_steering.evaluation import Interval
from projects.sentiment_steering.experiment import Outcome, perplexity_ratio
from projects.sentiment_steering.storage import Origin


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def phase1(origin: Origin, figures: Mapping[str, float], counts: Mapping[str, int]) -> str:
    """Description of a phase 1 run."""
    accuracy, between = figures["probe_accuracy"], figures["fidelity_between_classes"]
    readable = "can be read from" if accuracy > 0.6 else "can hardly be read from"
    return f"""### Hidden states of {origin.preset}, layer {origin.layer}

{counts["train_positive"]} training pairs and {counts["held_out_positive"]} held-out pairs, pooling `{origin.pooling}`.
Sentiment {readable} these states: a linear probe fitted on the training states is right on {accuracy:.1%} of the held-out
ones (chance: 50%). The layer was chosen on training data alone.

Each state of width {origin.width} became a complex unit vector of dimension {origin.encoding.dimension}; its length is kept, and
decoding gives it back with a relative error of {figures["encoding_error"]:.1e} (condition {figures["encoding_condition"]:.2f}).

Held-out states of different classes have a fidelity of **{between:.4f}** without any operator; within a class it is
{figures["fidelity_within_positive"]:.4f} (positive) and {figures["fidelity_within_negative"]:.4f} (negative). An operator has to be judged
against the first of these, not against 0.
"""


def phase2(method: str, mu: float, figures: Mapping[str, float]) -> str:
    """Description of a phase 2 run."""
    names = ("held_out", "identity", "centroid", "random_unitary")
    labels = (f"**{method}**", "identity", "centroid rotation", "random unitary")
    rows = [
        [
            label,
            f"{figures[f'{name}_fidelity']:.4f}",
            *(f"{figures[f'{name}_fidelity_{way}']:.4f}" for way in ("to_negative", "to_positive")),
        ]
        for label, name in zip(labels, names, strict=True)
    ]
    lift = Interval(
        figures["lift_over_identity"], figures["lift_over_identity_low"], figures["lift_over_identity_high"]
    )
    return f"""### Two unitary operators by {method}

Fidelity on held-out pairs:

{_table(["operator", "both", "to negative", "to positive"], rows)}

Training fidelity {figures["train_fidelity"]:.4f}; mu = {mu:.3g}; rank {figures["rank"]:.0f}; unitarity error {figures["unitarity_error"]:.1e};
largest angle {figures["largest_angle"]:.3f} rad.

{_lift_verdict(lift)}
"""


def _lift_verdict(lift: Interval) -> str:
    gained = f"The lift over doing nothing is {lift.mean:+.4f} [{lift.low:+.4f}, {lift.high:+.4f}] (95% bootstrap)"
    if lift.low > 0:
        return f"{gained}: small or not, it is real on sentences the operators never saw."
    if lift.high < 0:
        return f"{gained}: on held-out pairs the operators are **worse than doing nothing**; they fitted the training pairs."
    return f"{gained}: the interval holds 0, so **nothing shows that the operators beat doing nothing**."


def phase3(
    outcomes: Sequence[Outcome],
    openings: Sequence[str],
    found: Mapping[tuple[str, str, float], Interval],
    figures: Mapping[str, float],
) -> str:
    """Description of a phase 3 run."""
    scores = list(outcomes[0].scores)
    largest = max(strength for _, _, strength in found)
    rows = [
        [
            family.replace("_", " "),
            f"{strength:g}",
            *(str(found[score, family, strength]) for score in scores),
            f"{perplexity_ratio(outcomes, family, strength):.2f}",
        ]
        for score_of, family, strength in found
        if score_of == scores[0]
    ]
    verdicts = "\n".join(f"- {_separation_verdict(score, found, largest)}" for score in scores)
    return f"""### Steering {len(openings)} openings

To positive minus to negative, mean over openings with 95% bootstrap intervals, and perplexity beside unsteered text:

{_table(["family", "strength", *scores, "perplexity"], rows)}

At strength {largest:g}:
{verdicts}

The hook was at work: at strength {largest:g} hidden states moved by {figures["activation_change"]:.1%} of their length (lengths kept to
{figures["norm_error"]:.0e}), at strength 0 not one bit changed, and encoding and decoding alone move them by {figures["identity_round_trip_error"]:.0e}.

{_examples(outcomes, openings, largest)}
"""


def _separation_verdict(score: str, found: Mapping[tuple[str, str, float], Interval], strength: float) -> str:
    operator, random = found[score, "operator", strength], found[score, "random_unitary", strength]
    means = found[score, "difference_of_means", strength]
    if not operator.excludes_zero:
        return f"{score}: {operator}. The interval holds 0: **no effect on the text is shown**."
    if operator.high < 0:
        return f"{score}: {operator}. The text moved **against** the intended direction."
    beside = "more than" if operator.low > random.high else "not clearly more than"
    usual = "more" if operator.mean > means.mean else "less"
    return (
        f"{score}: {operator}. The text moved as intended, {beside} by a random unitary of the same angles ({random}), "
        f"and {usual} than by the difference of means ({means})."
    )


def _examples(outcomes: Sequence[Outcome], openings: Sequence[str], strength: float) -> str:
    shown = [outcomes[0]] + [
        outcome
        for outcome in outcomes
        if outcome.condition.family == "operator" and outcome.condition.strength == strength
    ]
    rows = [
        [openings[index], *(" ".join(outcome.texts[index].split()).replace("|", "/") for outcome in shown)]
        for index in range(min(3, len(openings)))
    ]
    return _table(["opening", *(outcome.condition.name for outcome in shown)], rows)


def phase4(figures: Mapping[str, float]) -> str:
    """Description of a phase 4 run."""
    rows = [
        [
            name.replace("_", ", "),
            f"{figures[f'round_trip_fidelity_{name}']:.6f}",
            f"{figures[f'product_error_{name}']:.1e}",
            f"{figures[f'product_distance_{name}']:.1e}",
        ]
        for name in ("learned_positive", "learned_negative", "adjoint_positive", "adjoint_negative")
    ]
    learned = figures["product_error_learned_positive"]
    meaning = (
        "The learned operators are inverse to each other up to rounding. That follows from the objective, which is the same "
        "for an operator and for the adjoint of its reverse; it says nothing about sentiment."
        if learned < 1e-6
        else "The learned operators are not exactly inverse to each other: they were trained from different starts."
    )
    return f"""### There and back

Held-out states, out by one operator and back by the other learned one, or by the adjoint:

{_table(["way back, states", "fidelity", "largest entry of U2 U1 - I", "mean length of (U2 U1 - I) w"], rows)}

{meaning} The adjoint of a unitary operator is its inverse, so the last two rows measure rounding.
"""
