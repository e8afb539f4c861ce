"""What phase 4 does with the modules below it: there and back, by the learned operators and by the adjoint."""

from collections.abc import Mapping
from typing import Any

from projects.sentiment_steering.evaluation import RoundTrip, bootstrap, round_trip
from projects.sentiment_steering.operators import LowRankUnitary
from projects.sentiment_steering.storage import EncodedStates

Trips = Mapping[str, RoundTrip]


def measure_round_trips(operators: tuple[LowRankUnitary, LowRankUnitary], encoded: EncodedStates) -> Trips:
    """Round trips of held-out states: positive ones out by the first operator, negative ones by the second.

    `learned` comes back by the other trained operator; `adjoint` by the same operator's adjoint, which is its exact
    inverse, so that what is lost there is rounding and nothing else.
    """
    to_negative, to_positive = operators
    positive, negative = encoded.pairs("held_out")
    return {
        "learned_positive": round_trip(to_negative, to_positive, positive),
        "learned_negative": round_trip(to_positive, to_negative, negative),
        "adjoint_positive": round_trip(to_negative, to_negative.adjoint(), positive),
        "adjoint_negative": round_trip(to_positive, to_positive.adjoint(), negative),
    }


def reversibility_figures(trips: Trips, seed: int) -> dict[str, float]:
    """Metrics of phase 4: mean fidelity after the round trip, and how far the product is from the identity."""
    figures: dict[str, float] = {}
    for name, trip in trips.items():
        figures[f"round_trip_fidelity_{name}"] = float(trip.fidelities.mean())
        figures[f"product_error_{name}"] = trip.product_error
        figures[f"product_distance_{name}"] = trip.product_distance
    interval = bootstrap(trips["learned_positive"].fidelities.numpy(), seed)
    return figures | {
        "round_trip_fidelity": (
            figures["round_trip_fidelity_learned_positive"] + figures["round_trip_fidelity_learned_negative"]
        )
        / 2,
        "round_trip_fidelity_low": interval.low,
        "round_trip_fidelity_high": interval.high,
        "adjoint_error": max(trips["adjoint_positive"].product_error, trips["adjoint_negative"].product_error),
    }


def reversibility_document(trips: Trips, figures: Mapping[str, float]) -> dict[str, Any]:
    """The content of reversibility.json."""
    return {"figures": dict(figures), "fidelities": {name: trip.fidelities.tolist() for name, trip in trips.items()}}
