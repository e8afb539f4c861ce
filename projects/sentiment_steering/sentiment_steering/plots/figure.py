"""Share the colours of the plots, and how a figure is made without a display."""

import numpy as np
from matplotlib.figure import Figure

COLOURS = {
    "operator": "tab:blue",
    "random_unitary": "tab:gray",
    "difference_of_means": "tab:orange",
    "positive": "tab:green",
    "negative": "tab:red",
}


def new_figure(width: float = 7, height: float = 4, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """Return a figure of `width` x `height` inches and its axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(1, columns))
