"""The descriptions of the runs, in Markdown: what happened, what it means, and what it does not show."""

from collections.abc import Mapping, Sequence

from projects.sentiment_steering.evaluation import Interval
from projects.sentiment_steering.outcomes import Outcome, activation_change, members, perplexity_ratio
from projects.sentiment_steering.storage import Origin

Figures = Mapping[str, float]
Separations = Mapping[tuple[str, str, float], Interval]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def phase1(origin: Origin, figures: Figures, counts: Mapping[str, int], layers_read: int) -> str:
    """Description of a phase 1 run."""
    accuracy = figures["probe_accuracy"]
    readable = "can be read from" if accuracy > 0.6 else "can hardly be read from"
    chosen = "The layer was chosen on training data alone." if layers_read > 1 else "The layer was given."
    between, positive, negative = (
        f"{figures[name]:.4f}"
        for name in ("fidelity_between_classes", "fidelity_within_positive", "fidelity_within_negative")
    )
    lost, condition = f"{figures['encoding_error']:.1e}", f"{figures['encoding_condition']:.2f}"
    return f"""### Hidden states of {origin.preset}, layer {origin.layer}

{counts["train_positive"]} training pairs and {counts["held_out_positive"]} held-out pairs, pooling `{origin.pooling}`.
Sentiment {readable} these states: a linear probe fitted on the training states is right on {accuracy:.1%} of
the held-out ones (chance: 50%). {chosen}

Each state of width {origin.width} became a complex unit vector of dimension {origin.encoding.dimension}; its length is
kept, and decoding gives it back with a relative error of {lost} (condition {condition}).

Held-out states of different classes have a fidelity of **{between}** without any operator; within a class it is
{positive} (positive) and {negative} (negative). An operator has to be judged against the first of these, not against 0.
"""


def phase2(method: str, mu: float, figures: Figures) -> str:
    """Description of a phase 2 run."""
    labels = {
        "held_out": f"**{method}**",
        "identity": "identity",
        "centroid": "centroid rotation",
        "random_unitary": "random unitary",
    }
    endings = ("", "_to_negative", "_to_positive")
    rows = [
        [label, *(f"{figures[f'{name}_fidelity{ending}']:.4f}" for ending in endings)] for name, label in labels.items()
    ]
    return f"""### Two unitary operators by {method}

Fidelity on held-out pairs:

{_table(["operator", "both", "to negative", "to positive"], rows)}

Training fidelity {figures["train_fidelity"]:.4f}; mu = {mu:.3g}; rank {figures["rank"]:.0f};
unitarity error {figures["unitarity_error"]:.1e}; largest angle {figures["largest_angle"]:.3f} rad.

{_lift_verdict(figures)} {_centroid_verdict(figures)}
"""


def _lift_verdict(figures: Figures) -> str:
    lift, low, high = (figures[f"lift_over_identity{ending}"] for ending in ("", "_low", "_high"))
    gained = f"The lift over doing nothing is {lift:+.4f} [{low:+.4f}, {high:+.4f}] (95% bootstrap)"
    if low > 0:
        return f"{gained}: small or not, it holds on sentences that the operators never saw."
    if high < 0:
        return f"{gained}: on held-out pairs the operators are **worse than doing nothing**."
    return f"{gained}: the interval holds 0, so **nothing shows that the operators beat doing nothing**."


def _centroid_verdict(figures: Figures) -> str:
    lift = figures["lift_over_centroid"]
    if abs(lift) < 0.1 * abs(figures["lift_over_identity"]):
        return (
            f"Against the rotation that only carries one mean to the other it is {lift:+.4f}: what was learned is, as "
            "far as fidelity can tell, **that one rotation**."
        )
    return f"Against the rotation that only carries one mean to the other it is {lift:+.4f}."


def phase3(outcomes: Sequence[Outcome], openings: Sequence[str], found: Separations, figures: Figures) -> str:
    """Description of a phase 3 run."""
    scores = list(outcomes[0].scores)
    largest = max(strength for _, _, strength in found)
    rows = [
        [
            family.replace("_", " "),
            f"{strength:g}",
            *(str(found[score, family, strength]) for score in scores),
            f"{perplexity_ratio(outcomes, family, strength):.2f}",
            f"{activation_change(outcomes, family, strength):.1%}",
        ]
        for score_of, family, strength in found
        if score_of == scores[0]
    ]
    verdicts = "\n".join(
        f"- {_separation_verdict(score, found[score, 'operator', largest], figures)}" for score in scores
    )
    return f"""### Steering {len(openings)} openings

To positive minus to negative, mean over openings with 95% bootstrap intervals; perplexity over that of unsteered text;
and how far hidden states were moved, relative to their length:

{_table(["family", "strength", *scores, "perplexity", "moved"], rows)}

At strength {largest:g}:
{verdicts}

The hook was at work: at strength {largest:g} hidden states moved by {figures["activation_change"]:.1%} of their length
(lengths kept to {figures["norm_error"]:.0e}), at strength 0 not one bit changed, and encoding and decoding alone move
them by {figures["identity_round_trip_error"]:.0e}.

{_examples(outcomes, openings, largest)}
"""


def _separation_verdict(score: str, operator: Interval, figures: Figures) -> str:
    if not operator.excludes_zero:
        return f"{score}: {operator}. The interval holds 0: **no effect on the text is shown**."
    if operator.high < 0:
        return f"{score}: {operator}. The text moved **against** the intended direction."
    return (
        f"{score}: {operator}. The text moved as intended; "
        f"{_beside(score, 'random_unitary', 'a random unitary that moves states about as far', figures)}; "
        f"{_beside(score, 'difference_of_means', 'the difference of means', figures)}."
    )


def _beside(score: str, control: str, label: str, figures: Figures) -> str:
    name = f"{score}_advantage_over_{control}"
    over = Interval(figures[name], figures[f"{name}_low"], figures[f"{name}_high"])
    relation = "**not shown to differ** from that" if not over.excludes_zero else "more" if over.low > 0 else "**less**"
    return f"{relation} {'by' if relation.startswith('**not') else 'than by'} {label} ({over})"


def _examples(outcomes: Sequence[Outcome], openings: Sequence[str], strength: float) -> str:
    shown = [outcomes[0], *members(outcomes, "operator", strength)]
    rows = [
        [openings[index], *(" ".join(each.texts[index].split()).replace("|", "/") for each in shown)]
        for index in range(min(3, len(openings)))
    ]
    return _table(["opening", *(each.condition.name for each in shown)], rows)


def phase4(figures: Figures) -> str:
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
    inverse = figures["product_error_learned_positive"] < 1e-6
    meaning = (
        "The learned operators are inverse to each other up to rounding. That follows from the objective, which is the "
        "same for an operator and for the adjoint of its reverse; it says nothing about sentiment."
        if inverse
        else "The learned operators are not exactly inverse to each other: they were trained from different starts."
    )
    return f"""### There and back

Held-out states, out by one operator and back by the other learned one, or by the adjoint:

{_table(["way back, states", "fidelity", "largest entry of U2 U1 - I", "mean length of (U2 U1 - I) w"], rows)}

{meaning} The adjoint of a unitary operator is its inverse, so the last two rows measure rounding.
"""
