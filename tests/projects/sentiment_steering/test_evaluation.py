"""Intervals and round trips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projects.sentiment_steering.evaluation import bootstrap, operator_fidelities, round_trip
from projects.sentiment_steering.operators import LowRankUnitary
from projects.sentiment_steering.reversibility import measure_round_trips, reversibility_figures
from projects.sentiment_steering.storage import EncodedStates

Operators = tuple[LowRankUnitary, LowRankUnitary]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_the_interval_lies_about_the_mean_and_within_the_values(values: list[float]) -> None:
    interval = bootstrap(values)
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9
    assert interval.mean == pytest.approx(np.mean(values))
    assert bootstrap(values) == interval


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        interval = bootstrap(draw.normal(1.0, 1.0, 40), seed, draws=500)
        covered += interval.low <= 1.0 <= interval.high
    assert 0.87 <= covered / 200 <= 0.99


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to average"):
        bootstrap([])


def test_controls_stand_beside_the_operator_on_the_same_held_out_pairs(
    encoded: EncodedStates, operators: Operators
) -> None:
    found = operator_fidelities(operators[0], encoded.pairs("train"), encoded.pairs("held_out"), seed=0)
    assert {name: len(values) for name, values in found.items()} == {
        "train": 24, "held_out": 12, "identity": 12, "centroid": 12, "random_unitary": 12,
    }  # fmt: skip
    assert float(found["random_unitary"].mean()) < 0.3 < float(found["identity"].mean())
    assert float(found["held_out"].mean()) > float(found["identity"].mean())


def test_the_way_back_by_the_adjoint_loses_only_rounding(encoded: EncodedStates, operators: Operators) -> None:
    figures = reversibility_figures(measure_round_trips(operators, encoded), seed=0)
    assert figures["adjoint_error"] < 1e-12
    assert figures["round_trip_fidelity_adjoint_positive"] == pytest.approx(1, abs=1e-6)


def test_twice_the_same_way_is_no_way_back(encoded: EncodedStates, operators: Operators) -> None:
    turned = operators[0].power(20)
    trip = round_trip(turned, turned, encoded.pairs("held_out")[0])
    assert float(trip.fidelities.mean()) < 0.999
    assert trip.product_error > 0.01
