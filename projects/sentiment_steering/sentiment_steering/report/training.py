"""Describe a run of phase 2 in Markdown."""

from projects_common.controls import claims_table
from projects_common.report import table

from sentiment_steering.operators.training import Trained


def describe(trained: Trained) -> str:
    """Return the description of the run."""
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
