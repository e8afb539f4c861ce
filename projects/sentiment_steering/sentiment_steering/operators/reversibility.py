"""Measure the round trips of held-out states: there and back, by the learned operators and by the adjoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from projects_common.files import write_json
from projects_common.statistics import bootstrap

from sentiment_steering.operators.evaluation import RoundTrip, round_trip
from sentiment_steering.operators.pair import OperatorPair, load_operators
from sentiment_steering.settings import ReversibilitySettings
from sentiment_steering.states.encoded import EncodedStates, load_states

Trips = Mapping[str, RoundTrip]


@dataclass(frozen=True)
class Reversibility:
    """Hold the result of phase 4: the round trips by name, and the metrics."""

    trips: Trips
    figures: Mapping[str, float]

    def save(self, file: Path) -> None:
        """Write reversibility.json."""
        fidelities = {name: trip.fidelities.tolist() for name, trip in self.trips.items()}
        write_json({"figures": dict(self.figures), "fidelities": fidelities}, file)


def measure(states: Path, operators: Path, settings: ReversibilitySettings) -> Reversibility:
    """Measure the operators of one folder on the held-out states of another.

    Raises:
        PhaseError: a folder does not hold them.
    """
    trips = measure_round_trips(load_operators(operators), load_states(states))
    return Reversibility(trips, reversibility_figures(trips, settings.seed))


def measure_round_trips(operators: OperatorPair, encoded: EncodedStates) -> Trips:
    """Return the round trips of held-out states: positive ones out by the first operator, negative ones by the second.

    `learned` comes back by the other trained operator. `adjoint` comes back by the same operator's adjoint, which is
    its exact inverse, so that only rounding is lost.
    """
    to_negative, to_positive = operators.to_negative, operators.to_positive
    positive, negative = encoded.pairs("held_out")
    return {
        "learned_positive": round_trip(to_negative, to_positive, positive),
        "learned_negative": round_trip(to_positive, to_negative, negative),
        "adjoint_positive": round_trip(to_negative, to_negative.adjoint(), positive),
        "adjoint_negative": round_trip(to_positive, to_positive.adjoint(), negative),
    }


def reversibility_figures(trips: Trips, seed: int) -> dict[str, float]:
    """Return the metrics of phase 4: mean fidelity after the round trip, and the product's distance from I."""
    figures: dict[str, float] = {}
    for name, trip in trips.items():
        figures[f"round_trip_fidelity_{name}"] = float(trip.fidelities.mean())
        figures[f"product_error_{name}"] = trip.product_error
        figures[f"product_distance_{name}"] = trip.product_distance
    interval = bootstrap(trips["learned_positive"].fidelities.numpy(), seed)
    both = figures["round_trip_fidelity_learned_positive"] + figures["round_trip_fidelity_learned_negative"]
    return figures | {
        "round_trip_fidelity": both / 2,
        "round_trip_fidelity_low": interval.low,
        "round_trip_fidelity_high": interval.high,
        "adjoint_error": max(trips["adjoint_positive"].product_error, trips["adjoint_negative"].product_error),
    }
