"""Draw the plot of phase 4."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from sentiment_steering.operators.evaluation import RoundTrip
from sentiment_steering.operators.reversibility import Reversibility
from sentiment_steering.plots.figure import new_figure


def draw(result: Reversibility) -> dict[str, Figure]:
    """Return the plots by the path of their artifact."""
    return {"plots/round_trips.png": _round_trips(result.trips)}


def _round_trips(trips: Mapping[str, RoundTrip]) -> Figure:
    """Draw the loss of fidelity of each held-out state on the way there and back, on a logarithmic scale."""
    figure, (axes,) = new_figure()
    floor = 1e-17
    for name, trip in trips.items():
        lost = (1 - trip.fidelities).abs().clamp(min=floor).sort().values
        axes.semilogy(lost.numpy(), marker=".", label=name.replace("_", " "))
    axes.set(xlabel="held-out state", ylabel="1 - round-trip fidelity", title="Loss on the way there and back")
    axes.legend()
    return figure
