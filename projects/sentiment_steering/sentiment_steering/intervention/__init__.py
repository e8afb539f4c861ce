"""Let the model write with steered states and score the text."""
