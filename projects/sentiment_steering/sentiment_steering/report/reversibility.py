"""Describe a run of phase 4 in Markdown."""

from projects_common.report import table

from sentiment_steering.operators.reversibility import Reversibility


def describe(result: Reversibility) -> str:
    """Return the description of the run."""
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
