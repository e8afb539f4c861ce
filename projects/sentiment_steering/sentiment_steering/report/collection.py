"""Describe a run of phase 1 in Markdown."""

from sentiment_steering.states.collection import Collected


def describe(collected: Collected) -> str:
    """Return the description of the run."""
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
